"""What `python -m theory tight` is asked and says: the exact worst case beside the bounds that were proved for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from theory import bounds, conjectures, tight
from theory.certificates import Certificate
from theory.checks import integer, positive, shown
from theory.tables import markdown

LARGEST = 60
"""Modules or iterations: beyond, the program fits into no memory."""


@dataclass(frozen=True)
class Answer:
    """A Markdown table, and the certificate if one was asked for."""

    text: str
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Question:
    """K, T, gamma L; n samples (1: exact gradients); A in units of M/L, or of nu^2/L if the variance is bounded."""

    K: int
    T: int
    step: Fraction
    n: float
    start: float
    variance: bool
    certify: bool

    @staticmethod
    def of(K: int, T: int, step: str, n: str, start: float, variance: bool, certify: bool) -> Question:
        """The question in these words; ValueError for what is out of range, and without a solver."""
        integer("modules", K, 1)
        integer("iterations", T, 2)
        if max(K, T) > LARGEST:
            raise ValueError(
                f"iterations: expected modules and iterations up to {LARGEST}, got {K} and {T}; take fewer"
            )
        try:
            gamma_L = Fraction(step)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"step: expected a number such as 0.25 or 1/4, got {shown(step)}; pass gamma L") from None
        positive("step", gamma_L)
        positive("start", start)
        if n != "inf" and not n.isdecimal():
            raise ValueError(f"samples: expected a whole number or inf, got {shown(n)}; pass 1 for exact gradients")
        count = math.inf if n == "inf" else integer("samples", int(n), 1)
        if count == 1 and variance:
            raise ValueError("variance: expected 2 samples or more beside it, got 1; exact gradients have none")
        if count > 1 and certify:
            raise ValueError("certificate: expected 1 sample beside it, got more; certificates are for exact gradients")
        tight.solver()
        return Question(K, T, gamma_L, count, start, variance, certify)

    def answer(self, progress: Callable[[str], None] = lambda text: None) -> Answer:
        """Solve, and set down."""
        progress("solving")
        if self.n == 1:
            return self._exact(progress)
        return self._variance() if self.variance else self._bounded()

    def _exact(self, progress: Callable[[str], None]) -> Answer:
        K, T, gamma_L = self.K, self.T, float(self.step)
        worst = tight.worst_sum(K, T, self.step) / T
        conjectured = " (Conjecture W)" if gamma_L <= bounds.quadratic_threshold(K) else ""
        rows = [(f"f = (L/2) w_1^2{conjectured}", conjectures.worst_sum(K, gamma_L, T) / T)]
        rows += _applying("Theorem G", lambda: bounds.theorem_g(1.0, 1.0, K, gamma_L, T))
        rows += _applying("Theorem F", lambda: bounds.theorem_f(1.0, 1.0, K, gamma_L, T))
        rows += _applying("Theorem D0", lambda: bounds.theorem_d0(1.0, 1.0, K, gamma_L, T))
        made = None
        if self.certify:
            progress("certifying")
            made = tight.certificate(K, T, self.step)
            rows.append((f"certificate, exactly {made.value / T}", float(made.value / T)))
        return Answer(self._table("S_T/(L A)", worst, rows), made)

    def _bounded(self) -> Answer:
        K, T, gamma_L, A = self.K, self.T, float(self.step), self.start
        worst = tight.worst_mean(tight.Sampled(K, T, gamma_L, self.n, A, M=1.0))
        rows = [
            ("Theorem 1* (lin)", bounds.theorem_1_lin(A, 1.0, 1.0, K, gamma_L, T)),
            ("Theorem 1* (clean)", bounds.theorem_1_clean(A, 1.0, 1.0, K, gamma_L, T)),
            ("Theorem 1* (sharp)", bounds.theorem_1_sharp(A, 1.0, 1.0, K, gamma_L, T)),
            ("M, the trivial bound", 1.0),
        ]
        return Answer(self._table(f"S_T/M at L A = {A:g} M", worst, rows))

    def _variance(self) -> Answer:
        K, T, gamma_L, A = self.K, self.T, float(self.step), self.start
        worst = tight.worst_mean(tight.Sampled(K, T, gamma_L, self.n, A, nu2=1.0))
        rows = _applying("Conjecture V", lambda: conjectures.variance(A, 1.0, 1.0, K, gamma_L, T))
        rows += _applying("Theorem D", lambda: bounds.theorem_d(A, 1.0, 1.0, K, gamma_L, T))
        return Answer(self._table(f"S_T/nu^2 at L A = {A:g} nu^2", worst, rows))

    def _table(self, unit: str, worst: float, rows: list[tuple[str, float]]) -> str:
        count = "exact gradients" if self.n == 1 else f"n = {self.n:g}"
        title = f"K = {self.K}, T = {self.T}, gamma L = {self.step}, {count}: the largest {unit}"
        lines = [("worst case", f"{worst:.6g}", "")]
        lines += [(name, f"{value:.6g}", f"{worst / value:.4f}") for name, value in rows]
        return f"{title}\n\n{markdown(['', 'value', 'worst case/value'], lines)}"


def _applying(name: str, bound: Callable[[], float]) -> list[tuple[str, float]]:
    """The bound, if it applies to such a step."""
    try:
        return [(name, bound())]
    except ValueError:
        return []
