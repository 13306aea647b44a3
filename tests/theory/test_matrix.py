"""What the claims notice: every bound sees the delay, weaker statements fail or stand in a table with the reason."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from theory import adversaries, bounds, campaign, matrix, records, stability
from theory.__main__ import app
from theory.cases import Case
from theory.claims import CLAIMS, Kind, Outcome
from theory.claims.claim import BoundInK
from theory.delayed import ddg
from theory.examine import Examination, examine
from theory.matrix import NOT_NOTICED, ONE, STATED, WRONG, bounds_in_k
from theory.problems import split

pytestmark = pytest.mark.slow

TIGHT = (
    *("distance", "lemma-v", "lemma-v-half", "back-to-w", "theorem-1-lin", "theorem-1-sharp"),
    *("theorem-2-shifted", "theorem-2-weighted", "lyapunov", "theorem-d0", "theorem-d", "quadratic-stable"),
    *("warm-up", "energy", "theorem-f", "best-step-f", "theorem-g", "conjecture-w", "conjecture-v"),
    *("coasted-distance", "momentum-lin", "momentum-clean", "momentum-sharp", "momentum-stable"),
    *("epoch-distance", "decay-d0", "lin-conjecture"),
)
"""Bounds that are reached to within 10%."""


BLIND = {"shuffled-variance", "adam-mean-square"}
"""Bounds whose constants are so loose that they would hold without a delay in them, on everything tried here."""


@pytest.fixture(scope="module")
def weaker():
    return matrix.weaker()


@pytest.fixture(scope="module")
def wrong():
    return matrix.wrong()


def test_upper_bounds_are_functions_of_k():
    """All but those that compare formulas with one another, a length that no delay enters, and a lower bound."""
    upper = {name for name, claim in CLAIMS.items() if claim.kind is Kind.UPPER_BOUND}
    without = {"monotone-in-k", "order", "worst-constants", "decay-bounded", "lin-constant-lower"}
    assert upper - set(bounds_in_k()) == without


def test_every_bound_holds_and_notices_that_k_is_not_one(weaker):
    assert {name for name in bounds_in_k() if weaker[name, STATED] > 1} == set()
    assert {name for name in bounds_in_k() if not weaker[name, ONE] > 1.01} == BLIND


def test_every_weaker_statement_is_noticed_or_stands_in_the_table(weaker):
    unnoticed = {key for key, value in weaker.items() if key[1] != STATED and not value > 1.01}
    assert unnoticed == set(NOT_NOTICED)


def test_tight_bounds_notice_a_tenth(weaker):
    assert {name for name in bounds_in_k() if weaker[name, STATED] / 0.9 > 1.01} == set(TIGHT)


@pytest.mark.parametrize("name", sorted(bounds_in_k().keys() - BLIND))
def test_a_plain_verification_notices_that_k_is_not_one(name):
    """`verify --examples 100` draws every adversary, on one of which the bound with 1 in place of K fails; and mostly
    other cases."""
    claim = CLAIMS[name]
    assert max(claim.check(case, ddg).undelayed for case in claim.adversaries) > 1
    drawn = []

    def note(case, iteration):
        drawn.append(case)
        return Outcome(0.0, 1.0)

    for _, examples, seed in campaign.Plan([claim], 100).chunks():
        examine(replace(claim, check=note), examples, seed)
    assert set(claim.adversaries) <= set(drawn)
    assert sum(case in claim.adversaries for case in drawn) <= 50


@pytest.mark.parametrize(
    ("name", "function", "weaker"),
    [
        ("lemma-v", "lemma_v", lambda gamma, L, M, K, grad2: gamma**2 * L * M / 2),
        ("lemma-v", "lemma_v", lambda gamma, L, M, K, grad2: gamma**2 * L * M * (K - 1.5)),
        ("theorem-d", "theorem_d", lambda A, L, nu2, K, gamma, T: bounds.theorem_d0(A, L, max(1, K - 1), gamma, T)),
        ("lemma-r-simple", "lemma_r_sigma", lambda gammas, K, t: 1.0),
        ("lemma-r-half", "lemma_r_sigma", lambda gammas, K, t: 1.0),
        ("lemma-r-full", "lemma_r_sigma", lambda gammas, K, t: 1.0),
    ],
)
def test_a_weaker_formula_fails_in_an_examination(name, function, weaker, monkeypatch):
    """The mistake in the code of the bound itself."""
    intact = CLAIMS[name]
    assert examine(intact, 50, seed=0).violation is None
    monkeypatch.setattr(bounds, function, weaker)
    claim = intact
    if function != "lemma_r_sigma":
        module = __import__(f"theory.claims.{name.replace('-', '_')}", fromlist=["checker"])
        claim = replace(intact, check=module.checker(*((weaker, 1.0) if name == "lemma-v" else (weaker,))))
    assert examine(claim, 50, seed=0).violation is not None


def test_equality_where_the_adversaries_say_so():
    for name, cases in (
        ("lemma-v", adversaries.BEND),
        ("lyapunov", adversaries.BEND),
        ("lemma-v-half", adversaries.MINIMUM),
        ("distance", adversaries.SLOPE),
    ):
        for case in cases:
            assert CLAIMS[name].check(case, ddg).ratio == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("K", [2, 3, 4])
def test_the_circle_keeps_the_gradient_as_long_as_any(K):
    """Just above 2 sin(pi/(2(2K-1))), where Theorem 1* (lin) is tight up to (K-1/2) gamma L; below, it converges."""
    threshold = bounds.quadratic_threshold(K)
    late = {}
    for factor in (0.95, 1.05):
        case = Case("first-circle", K, 1, 3000, "constant", factor * threshold, 1.5, seed=0)
        late[factor] = (case.problem.grad(case.run().w[-500:]) ** 2).sum(axis=-1).mean() / case.problem.gradient_bound()
    assert late[0.95] < 1e-6
    assert late[1.05] > 0.99


def test_the_delay_a_bound_believes_in_can_be_any():
    """Lemma V on the bend: exactly K - 1/2 units of noise, whatever the bound thinks."""
    check = CLAIMS["lemma-v"].check
    for case in adversaries.BEND:
        judge = check.measure(case, ddg)
        for K in range(1, 8):
            assert judge(K).strain == pytest.approx((case.K - 0.5) / (K - 0.5), rel=1e-9)
        assert check(case, ddg) == replace(judge(case.K), undelayed=judge(1).strain)


def test_strain_is_above_one_exactly_where_an_upper_bound_fails():
    for measured, bound, slack in [(2, 1, 0), (1, 1, 0), (1.5, 1, 0.6), (1, 0, 0), (0, 0, 0), (1, 0, 1), (-1, 0, 0)]:
        outcome = Outcome(measured, bound, slack)
        assert (outcome.strain > 1) == outcome.violates(Kind.UPPER_BOUND)


def test_examinations_keep_the_largest_strain_without_a_delay():
    first, second = Examination(CLAIMS["distance"]), Examination(CLAIMS["distance"])
    assert np.isnan(first.undelayed)
    for examination, values in ((first, (np.nan, 0.5)), (second, (2.0, 1.0))):
        for value in values:
            examination.record("case", Outcome(0.0, 1.0, undelayed=value))
    assert (first.undelayed, second.undelayed) == (0.5, 2.0)
    first.merge(second)
    assert first.undelayed == 2.0


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5])
def test_the_strain_without_a_delay_is_recorded(value):
    examination = Examination(CLAIMS["distance"], examples=1, undelayed=value)
    again = records.from_json(json.loads(json.dumps(records.to_json(examination), allow_nan=False)))
    assert again.undelayed == pytest.approx(value, nan_ok=True)


def test_noise_on_the_first_quadratic_stays_below_theorem_d_without_r():
    """What the table says of it: the exact noise floor of w_1^2/2 is below gamma L nu^2/(2c)."""
    for K in range(1, 7):
        for share in (0.01, 0.1, 0.5, 0.9, 0.99):
            gamma = share * 2 / (2 * K - 1)
            noise = np.diag(np.eye(1, K)[0])
            H = noise + 1e-6 * (np.eye(K) - noise)
            floor = stability.noise_floor(H, split(K, K), gamma, noise)
            assert floor <= gamma / 2 / (1 - gamma * (K - 0.5)) * (1 + 1e-9)


def test_identities_notice_every_wrong_iteration(wrong):
    for name in ("drained-identity", "delayed-view", "draining", "any-optimizer", "pipedream", "running-view"):
        assert all(wrong[name, mistake] for mistake in WRONG)
    assert {name for name, _ in wrong} < set(CLAIMS)


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def numbers(cell):
    return [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]\d+)?", cell)]


def test_the_readme_shows_what_the_command_prints(weaker, wrong, monkeypatch):
    """Both tables; measured numbers to 2%, for other machines."""
    monkeypatch.setattr(matrix, "weaker", lambda: weaker)
    monkeypatch.setattr(matrix, "wrong", lambda: wrong)
    done = CliRunner().invoke(app, ["matrix"])
    assert done.exit_code == 0, done.output
    readme = (Path(matrix.__file__).parent / "README.md").read_text()
    assert matrix.wrong_table(wrong) in done.output
    assert matrix.wrong_table(wrong) in readme
    printed = matrix.weaker_table(weaker)
    assert printed in done.output
    header = printed.partition("\n")[0]
    start = readme.index(header)
    shown = readme[start : readme.index("\n\n", start)]
    assert len(cells(shown)) == len(cells(printed))
    for ours, theirs in zip(cells(printed), cells(shown), strict=True):
        assert re.sub(r"[\d.e+-]+", "#", " | ".join(ours)) == re.sub(r"[\d.e+-]+", "#", " | ".join(theirs))
        assert numbers(" | ".join(ours)) == pytest.approx(numbers(" | ".join(theirs)), rel=0.02)


def test_a_claim_that_fails_on_the_right_iteration_is_no_row():
    broken = replace(CLAIMS["distance"], check=BoundInK(lambda case, iteration: lambda K: Outcome(2.0, 1.0)))
    with pytest.raises(AssertionError, match="distance: fails on Case"):
        matrix.runs(broken, broken.adversaries)
