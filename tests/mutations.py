"""Small faults that can be planted in Python source, each by changing one piece of its text and nothing else.

What no test should depend on has none: docstrings and other text, annotations, assertions (`strict=` of zip counts as
one), decorators, bases, and what is printed.
"""

import ast
from dataclasses import dataclass
from typing import Any

OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
NAMES = {"max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum", "argmax": "argmin", "argmin": "argmax"}
ABSOLUTE = {"abs", "absolute", "fabs"}
GENERIC = {"dict", "list", "tuple", "set", "frozenset", "type", "deque"}
"""What has types in brackets, besides names that begin with a capital letter."""


@dataclass(frozen=True)
class Mutant:
    """Bytes start..end of the file `path` become `text`; `before` and `after` are the lines that this changes."""

    path: str
    line: int
    start: int
    end: int
    text: str
    before: str
    after: str

    @property
    def lines(self) -> tuple[str, str]:
        """Before and after: with the path, what identifies it."""
        return self.before, self.after

    def plant(self, source: str) -> str:
        """The source of the file with this fault in it."""
        encoded = source.encode()
        return (encoded[: self.start] + self.text.encode() + encoded[self.end :]).decode()


def mutants(path: str, source: str) -> list[Mutant]:
    """All of a file, in the order of its text."""
    finder = Finder(path, source)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda mutant: (mutant.start, mutant.end, mutant.text))


def called(node: ast.expr) -> str:
    """The last part of a name: `maximum` of `xp.maximum`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


class Finder(ast.NodeVisitor):
    """Collects the mutants of one file."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.source, self.found = path, source.encode(), list[Mutant]()
        self.lines = [0]
        for line in self.source.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.returns_nothing = False

    def span(self, node: Any) -> tuple[int, int]:
        """Where a node's text begins and ends."""
        return self.lines[node.lineno - 1] + node.col_offset, self.lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def change(self, start: int, end: int, text: str) -> None:
        """Note a mutant."""
        first = self.source.rfind(b"\n", 0, start) + 1
        last = self.source.find(b"\n", end)
        last = len(self.source) if last < 0 else last
        before = self.source[first:last].decode()
        after = (self.source[first:start] + text.encode() + self.source[end:last]).decode()
        line = self.source.count(b"\n", 0, start) + 1
        self.found.append(Mutant(self.path, line, start, end, text, before.strip(), after.strip()))

    def replace(self, node: ast.AST, text: str) -> None:
        self.change(*self.span(node), text)

    def between(self, left: int, right: int, operator: ast.AST) -> None:
        """Another operator in the text between two operands."""
        if type(operator) in OPERATORS:
            old, new = OPERATORS[type(operator)]
            place = self.source.index(old.encode(), left, right)
            self.change(place, place + len(old), new)

    def negate(self, condition: ast.expr) -> None:
        self.replace(condition, f"(not ({self.text(condition)}))")

    def visit_all(self, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        terms = [node.left, *node.comparators]
        for left, operator, right in zip(terms, node.ops, node.comparators, strict=False):
            self.between(self.span(left)[1], self.span(right)[0], operator)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(self.span(left)[1], self.span(right)[0], node.op)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.between(self.span(node.left)[1], self.span(node.right)[0], node.op)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.between(self.span(node.target)[1], self.span(node.value)[0], node.op)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        sign = "not " if isinstance(node.op, ast.Not) else "-"
        if isinstance(node.op, ast.Not | ast.USub) and self.text(node).startswith(sign):
            self.change(self.span(node)[0], self.span(node)[0] + len(sign), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        match node.value:
            case bool(value):
                self.replace(node, str(not value))
            case int(value):
                self.replace(node, str(value + 1))
            case float(value):
                self.replace(node, repr(2 * value or 1.0))

    def visit_Call(self, node: ast.Call) -> None:
        name, end = called(node.func), self.span(node.func)[1]
        if name in NAMES:
            self.change(end - len(name), end, NAMES[name])
        if name in ABSOLUTE and len(node.args) == 1:
            self.replace(node, f"({self.text(node.args[0])})")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            if called(node.value.func) == "print":
                return
            self.replace(node, "pass")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        nothing = node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
        if node.value and not nothing and not self.returns_nothing:
            self.replace(node.value, "None")
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        name = called(node.value)
        if name in GENERIC or name[:1].isupper():
            return
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for index in indices:
            for part in (index.lower, index.upper) if isinstance(index, ast.Slice) else (index,):
                if isinstance(part, ast.Name | ast.Attribute | ast.BinOp | ast.Call):
                    self.replace(part, f"{self.text(part)} + 1")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if any(name in self.text(node.test) for name in ("TYPE_CHECKING", "__name__")):
            return
        self.negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self.negate(condition)
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self.replace(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.replace(node, "break")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.returns_nothing
        self.returns_nothing = node.returns is not None and self.text(node.returns) == "None"
        self.visit_all(node.args, *node.body)
        self.returns_nothing = outer

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_all(node.args, node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all(*node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if "TypeAlias" not in self.text(node.annotation):
            self.visit_all(node.target, node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """Its name and annotation only."""

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":
            self.visit(node.value)

    def visit_Assert(self, node: ast.Assert) -> None:
        """An assertion is a test."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Text."""
