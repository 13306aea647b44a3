"""Exact proofs of worst cases: the checker accepts what is kept and refuses whatever is a little wrong."""

import ast
import json
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from theory import bounds, certificates, conjectures, windows
from theory.certificates import fault, from_json, semidefinite, to_json

pytestmark = pytest.mark.slow

KEPT = certificates.read(certificates.KEPT)
SMALL = [c for c in KEPT if c.T <= 6]
NAMES = [f"{c.K}-{c.T}-{c.step}" for c in KEPT]


def of(c):
    return c.K, c.step, c.T


@pytest.mark.parametrize("c", KEPT, ids=NAMES)
def test_what_is_kept_proves_that_f_of_module_1_is_the_worst(c):
    """The value is reached by f = (L/2) w_1^2, exactly; so it is the worst case."""
    assert fault(c) is None
    assert c.value == conjectures.worst_sum(*of(c))


def test_what_is_kept_covers_modules_and_steps_beyond_the_threshold():
    assert {c.K for c in KEPT} == {1, 2, 3, 4, 5, 6}
    assert len(KEPT) == 14
    assert any(c.step > bounds.quadratic_threshold(c.K) for c in KEPT)


@pytest.mark.parametrize("c", SMALL, ids=lambda c: f"{c.K}-{c.T}-{c.step}")
def test_a_multiplier_one_percent_off_is_refused(c):
    for pair, y in c.pairs.items():
        for factor in (Fraction(99, 100), Fraction(101, 100), -1):
            assert fault(replace(c, pairs=c.pairs | {pair: y * factor})) is not None
    for t, z in enumerate(c.low):
        for factor in (Fraction(99, 100), Fraction(101, 100), -1):
            low = (*c.low[:t], z * factor, *c.low[t + 1 :])
            assert fault(replace(c, low=low)) is not None


@pytest.mark.parametrize("c", KEPT, ids=NAMES)
@pytest.mark.parametrize("factor", [Fraction(99, 100), Fraction(999999, 10**6)])
def test_a_value_that_is_too_small_is_refused(c, factor):
    """Also with the multipliers scaled along, so that they add up."""
    assert "add up" in fault(replace(c, value=c.value * factor))
    pairs = {pair: y * factor for pair, y in c.pairs.items()}
    scaled = replace(c, value=c.value * factor, pairs=pairs, low=tuple(z * factor for z in c.low))
    assert "semidefinite" in fault(scaled)


@pytest.mark.parametrize("c", KEPT, ids=NAMES)
def test_the_same_multipliers_for_another_iteration_are_refused(c):
    """One module more, or a step that is 1% larger or smaller, wherever f = (L/2) w_1^2 then does worse."""
    steps = [replace(c, step=c.step * Fraction(percent, 100)) for percent in (99, 101)]
    worse = [other for other in (replace(c, K=c.K + 1), *steps) if conjectures.worst_sum(*of(other)) > c.value]
    assert worse
    for other in worse:
        assert "semidefinite" in fault(other)


@pytest.mark.parametrize("c", SMALL, ids=lambda c: f"{c.K}-{c.T}-{c.step}")
def test_a_missing_constraint_is_refused(c):
    for pair, y in c.pairs.items():
        if y:
            assert fault(replace(c, pairs={other: x for other, x in c.pairs.items() if other != pair})) is not None
    assert "iterations below T" in fault(replace(c, low=c.low[:-1]))
    for nowhere in ((0, c.T), (c.T, 0), (-1, 0), (0, -1), (1, 1)):
        assert "iterations below T" in fault(replace(c, pairs=c.pairs | {nowhere: Fraction(1)}))


def test_negative_multipliers_that_add_up_are_refused():
    """Around in a circle, i to j and back, the flow stays."""
    c = KEPT[2]
    pairs = c.pairs | {(0, 1): c.pairs[0, 1] - 100, (1, 0): c.pairs[1, 0] - 100}
    assert "multipliers >= 0" in fault(replace(c, pairs=pairs))
    assert "multipliers >= 0" in fault(replace(c, step=Fraction(0)))


def test_every_block_is_looked_at(monkeypatch):
    c = next(c for c in KEPT if c.K == 4)
    intact = certificates.remainder
    for bad in range(1, 5):
        with monkeypatch.context() as patch:
            patch.setattr(
                certificates, "remainder", lambda c, k, bad=bad: [[Fraction(-1)]] if k == bad else intact(c, k)
            )
            assert fault(c) == f"S_{bad} is not positive semidefinite"


def rational(*rows):
    return [[Fraction(x) for x in row] for row in rows]


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (rational([0]), True),
        (rational([-1]), False),
        (rational([1, 1], [1, 1]), True),
        (rational([1, 2], [2, 1]), False),
        (rational([0, 1], [1, 5]), False),
        (rational([0, 0], [0, 5]), True),
        (rational([1, 1, 0], [1, 1, 0], [0, 0, -1]), False),
        (rational([1, 1, 1], [1, 1, 2], [1, 2, 9]), False),
        (rational([2, -1, 0], [-1, 2, -1], [0, -1, 2]), True),
        (rational([1, -1, 0], [-1, 2, -1], [0, -1, 1]), True),
        (rational([1, -1, 0], [-1, 2, -1], [0, -1, "999999/1000000"]), False),
    ],
)
def test_semidefinite_is_exact(matrix, expected):
    before = [row.copy() for row in matrix]
    assert semidefinite(matrix) is expected
    assert matrix == before


def test_interpolation_is_the_condition_of_smooth_functions():
    """On c w^2/2 with |c| <= 1 the bracket f_i - f_j - q_ij is (1 - c^2)/4 times the squared distance of the points: 0
    exactly at the ends of what L = 1 allows."""
    T, step = 4, Fraction(1, 3)
    for K, k in ((1, 1), (3, 1), (3, 2)):
        w = certificates.positions(K, T, step, k)
        for c in (Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(0)):
            at, g = Fraction(2), []
            points = []
            for t in range(T):
                points.append(at + sum(x * y for x, y in zip(w[t], g + [Fraction(0)] * T, strict=False)))
                g.append(c * points[t])
            for i in range(T):
                for j in range(T):
                    q = sum(x * g[a] * g[b] for (a, b), x in certificates.interpolation(w, i, j).items())
                    bracket = c / 2 * (points[i] ** 2 - points[j] ** 2) - q
                    assert bracket == (1 - c**2) / 4 * (points[i] - points[j]) ** 2


def test_positions_are_those_of_ddg():
    step = Fraction(1, 5)
    assert certificates.positions(3, 4, step, 3) == [[-step] * t + [0] * (4 - t) for t in range(4)]
    assert certificates.positions(3, 5, step, 1)[4] == [-step, -step, 0, 0, 0]
    assert certificates.positions(3, 3, step, 1) == [[0] * 3] * 3


def test_certificates_survive_json():
    for c in KEPT:
        assert from_json(json.loads(json.dumps(to_json(c)))) == replace(
            c, pairs={pair: y for pair, y in c.pairs.items() if y}
        )


@pytest.mark.parametrize(
    "change",
    [
        *({"K": 0}, {"T": "x"}, {"step": "1/0"}, {"value": None}, {"pairs": [[0, 1]]}, {"low": 3}),
        {"pairs": [[0, 1, "1"], [0, 1, "1"]]},
    ],
    ids=str,
)
def test_what_is_no_certificate_is_refused_in_one_line(change, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(to_json(KEPT[2]) | change))
    with pytest.raises(ValueError, match="certificate: expected K, T, step, value, pairs and low") as caught:
        certificates.read(path)
    assert "\n" not in str(caught.value)
    for text in ("[", "", "\0"):
        path.write_text(text)
        with pytest.raises(ValueError, match="certificate: expected a JSON file"):
            certificates.read(path)


def test_the_checker_runs_on_its_own_and_says_what_it_refuses(tmp_path):
    """With no package but Python's, from any folder."""
    source = Path(certificates.__file__)
    found = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source.read_text()))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")])
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert found <= sys.stdlib_module_names
    done = subprocess.run([sys.executable, "-I", "-S", source], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("proves") == len(KEPT)
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(to_json(replace(KEPT[2], value=KEPT[2].value * Fraction(99, 100)))))
    done = subprocess.run([sys.executable, "-I", "-S", source, wrong], capture_output=True, text=True)
    assert done.returncode == 1
    assert "refused: the multipliers of f_0 add up" in done.stdout


# --- Lemma M, Theorems F and G -----------------------------------------------------------------------------

SHARES = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(99, 100))


def all_semidefinite(matrices):
    return all(semidefinite(matrix) for matrix in matrices)


def half_angle(K, share):
    """tan(psi/2) near this share of the threshold, rational."""
    return Fraction(round(math.tan(math.asin(float(share) * bounds.quadratic_threshold(K) / 2) / 2) * 10**4), 10**4)


@pytest.mark.parametrize("K", range(1, 9))
@pytest.mark.parametrize("share", SHARES)
def test_theorems_f_and_g_and_lemma_m_are_sums_of_squares(K, share):
    g = Fraction(round(float(share) * bounds.quadratic_threshold(K) * 1000), 1000)
    for N in range(1, K - 1):
        assert all_semidefinite(windows.lemma_m(K, N, g))
    for T in (1, 2, K, 2 * K + 1):
        matrices, value, step = windows.theorem_g(K, T, half_angle(K, share))
        assert all_semidefinite(matrices)
        assert float(value * step) == pytest.approx(bounds.theorem_g_constant(K, float(step)), rel=1e-9)
        if g / 2 + (g * (K - 1)) ** 2 / 2 < 1:
            matrices, value = windows.theorem_f(K, T, g)
            assert all_semidefinite(matrices)
            assert float(value * g) == pytest.approx(bounds.theorem_f_constant(K, float(g)), rel=1e-12)


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_one_percent_more_is_no_sum_of_squares(K):
    """Of c, by long horizons; at half of the threshold, where c is not small."""
    matrices, *_ = windows.theorem_g(K, 4 * K + 1, half_angle(K, 0.5), Fraction(101, 100))
    assert not all_semidefinite(matrices)
    g = Fraction(1, 2 * K - 1)
    c = (1 - g / 2 - (g * (K - 1)) ** 2 / 2) * Fraction(102 if K > 2 else 101, 100)
    assert not all_semidefinite(windows.theorem_f(K, 40, g, c)[0])


def test_forms_are_what_they_say():
    """Against plain sums over random gradients."""
    K, N, g, m = 3, 5, Fraction(2, 7), Fraction(1, 3)
    losses, claimed = [Fraction(1, 5), Fraction(2, 5)], [Fraction(1, 11)] * 4
    for k, S in enumerate(windows.forms(K, N, g, m, losses, claimed), start=1):
        a = [Fraction(n * n % 7 - 3) for n in range(1, N + 1)]
        h = [a[t - (K - k)] if t >= K - k else Fraction(0) for t in range(N)]
        plain = sum(g * a[t] * h[t] - g * g / 2 * h[t] ** 2 for t in range(N))
        plain += m * sum((a[t + 1] - a[t]) ** 2 - g * g * h[t] ** 2 for t in range(N - 1))
        plain += sum(loss * a[s] ** 2 for s, loss in enumerate(losses))
        plain -= sum(share * a[s] ** 2 for s, share in enumerate(claimed))
        assert sum(S[s][t] * a[s] * a[t] for s in range(N) for t in range(N)) == plain
