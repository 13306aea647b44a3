"""Every claim behaves as expected on drawn cases; every broken iteration is noticed; every bound can fail."""

from dataclasses import replace

import numpy as np
import pytest

from theory.cases import Case
from theory.claims import CLAIMS, Kind, Outcome, lemma_1_written, select
from theory.claims.any_optimizer import OPTIMIZERS, OptimizerCase
from theory.claims.claim import worst
from theory.claims.quadratic_threshold import QuadraticCase
from theory.delayed import ddg
from theory.examine import examine
from theory.wrong import INTACT, MUTANTS, uphill

GENERIC = Case("logistic", K=3, n=3, T=6, steps="constant", gamma_L=0.5, start=1.0, seed=1)


SEARCHES = ("lemma-1-search-history", "lemma-1-search-warm-up")


@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in SEARCHES])
def test_claim_behaves_as_expected(name):
    found = examine(CLAIMS[name], examples=20, seed=1)
    assert found.as_expected, found.violation or found.worst


def generic_case(claim):
    """A case of the claim in which blocks, samples and iterations all matter."""
    if claim.id == "pipedream":
        return replace(GENERIC, family="network")
    if claim.id == "any-optimizer":
        return [OptimizerCase(name, replace(GENERIC, gamma_L=0.05)) for name in OPTIMIZERS]
    return GENERIC


IDENTITIES = ("drained-identity", "delayed-view", "draining", "any-optimizer", "pipedream")


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_claims_catch_every_mutant(name, mutant):
    claim = CLAIMS[name]
    cases = generic_case(claim)
    for case in cases if isinstance(cases, list) else [cases]:
        assert not claim.check(case, ddg).violates(claim.kind)
        assert not claim.check(case, INTACT).violates(claim.kind)
        assert claim.check(case, MUTANTS[mutant]).violates(claim.kind)


EXACT_GRADIENTS = ("lyapunov", "theorem-d0", "warm-up", "energy", "theorem-f", "best-step-f", "theorem-g")
STOCHASTIC = [
    claim.id
    for claim in CLAIMS.values()
    if claim.kind is Kind.UPPER_BOUND and claim.case_type is Case and claim.id not in EXACT_GRADIENTS
]


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_no_mutant_hides_behind_an_upper_bound(name, mutant):
    """On cases drawn for the bound itself, one of them large enough for the mutation to act, the identities
    object."""
    unaware = set(IDENTITIES[:3])

    def check(case, iteration):
        for identity in sorted(unaware):
            if CLAIMS[identity].check(case, MUTANTS[mutant]).violates(CLAIMS[identity].kind):
                unaware.remove(identity)
        return Outcome(0.0, 1.0)

    examine(replace(CLAIMS[name], check=check), examples=12, seed=2, stopped=lambda: not unaware)
    assert not unaware


@pytest.mark.parametrize("identity", IDENTITIES[:3])
def test_mutants_of_full_batch_claims_are_caught(identity):
    """n = 1, as Theorem D0 and its energy need: all but the wrong sample, which is then the right one."""
    case = replace(GENERIC, n=1, gamma_L=0.3)
    for mutant, iteration in MUTANTS.items():
        caught = CLAIMS[identity].check(case, iteration).violates(CLAIMS[identity].kind)
        assert caught == (mutant != "wrong sample")


CLIMBERS = [
    *("theorem-1", "theorem-1-lin", "theorem-1-clean", "theorem-1-sharp", "best-step-lin", "best-step-clean"),
    *("lemma-v", "lemma-v-half", "lemma-r-simple", "lemma-r-half", "lemma-r-full", "lemma-1-on-average"),
    *("lyapunov", "theorem-d0", "theorem-d", "theorem-d-simple", "conjecture-w", "conjecture-v"),
    *("energy", "theorem-f", "best-step-f", "theorem-g"),
]


@pytest.mark.parametrize("name", CLIMBERS)
def test_climbing_breaks_the_upper_bounds(name):
    """Gradient ascent, long enough and with small enough steps that the bounds say something."""
    case = Case("huber", K=2, n=1, T=3000, steps="constant", gamma_L=0.003, start=0.1, seed=0)
    assert not CLAIMS[name].check(case, ddg).violates(Kind.UPPER_BOUND)
    assert CLAIMS[name].check(case, uphill).violates(Kind.UPPER_BOUND)


@pytest.mark.parametrize("name", [*STOCHASTIC, *EXACT_GRADIENTS])
def test_wrong_certificates_break_the_upper_bounds(name):
    """Constants that are too small by large factors: every bound that uses them must be seen to fail."""
    case = replace(
        GENERIC,
        family="sqrt+noise",
        n=1 if name in EXACT_GRADIENTS else 2,
        T=8,
        gamma_L=0.1,
        steps="harmonic" if name.startswith("theorem-2") else "constant",
    )
    assert not CLAIMS[name].check(case, ddg).violates(Kind.UPPER_BOUND)
    problem = case.problem
    problem.f_star = float(problem.f(case.w0)) - 1e-6
    problem.L /= 1 if name == "distance" else 1000
    problem.M /= 1e6
    problem.variance /= 1e6
    case = replace(case)
    case.__dict__["problem"] = problem
    assert CLAIMS[name].check(case, ddg).violates(Kind.UPPER_BOUND)


@pytest.mark.parametrize(
    ("name", "unnoticed"),
    [
        ("quadratic-stable", {"wrong sample", "missing warm-up rule"}),
        (
            "quadratic-threshold",
            {"wrong sample", "missing warm-up rule", "fresh weights in the upper blocks"},
        ),
    ],
)
def test_stability_claims_notice_another_iteration(name, unnoticed):
    """n = 1 has no wrong sample, a late time no warm-up, and the extremal quadratic no coupling between
    blocks."""
    claim = CLAIMS[name]
    case = QuadraticCase(K=3, extra=1, curvature=1.0, seed=0)
    assert not claim.check(case, ddg).violates(claim.kind)
    for mutant, iteration in MUTANTS.items():
        assert claim.check(case, iteration).violates(claim.kind) == (mutant not in unnoticed), mutant


@pytest.mark.parametrize(
    "claim",
    [lemma_1_written.HISTORY, lemma_1_written.RISING, lemma_1_written.WARM_UP, lemma_1_written.WINDOW],
)
def test_every_written_counterexample_refutes(claim):
    examples = {
        "lemma-1-per-history": [(-7.833e-5, -2.152e-4)],
        "lemma-1-rising": [(5.617e-4, -1.252e-4)],
        "lemma-1-warm-up": [(0.0, -0.0014), (-3.911e-4, -8.960e-4)],
        "lemma-1-window": [(6.08e-5, 4.3e-6)],
    }[claim.id]
    for written, (change, allowed) in zip(claim.strategy.elements, examples, strict=True):
        outcome = claim.check(written, ddg)
        assert outcome.violates(claim.kind)
        assert outcome.measured == pytest.approx(change, rel=2e-3)
        assert outcome.bound == pytest.approx(allowed, rel=6e-3)


def test_counterexample_disappears_at_a_large_step():
    """The violation is a matter of small steps: at gamma = 0.01 the slack of M_K covers it."""
    (written,) = lemma_1_written.HISTORY.strategy.elements
    assert not lemma_1_written.check(replace(written, gammas=("0.01",) * 3), ddg).violates(Kind.FALSE_AS_STATED)


@pytest.mark.parametrize("name", SEARCHES)
def test_search_finds_and_shrinks_a_counterexample(name):
    found = examine(CLAIMS[name], examples=1, seed=3)
    assert found.as_expected
    case = found.violation.case
    assert len(case.directions) == 1
    assert case.denominator == 1
    assert max(abs(p) for p in case.numerators) <= 1
    assert "w^0 =" in found.violation.outcome.note


def test_worst_prefers_a_violation_and_counts_nan_as_one():
    assert worst(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == Outcome(3.0, 2.0)
    assert worst(np.array([1.0, 1.5]), np.array([4.0, 2.0])) == Outcome(1.5, 2.0)
    assert worst(np.array([np.nan, 1.0]), 2.0).violates(Kind.UPPER_BOUND)


def test_unknown_claim_is_refused_in_one_line():
    with pytest.raises(ValueError, match="claims: expected some of drained-identity, ") as caught:
        select(["theorem-3"])
    assert "\n" not in str(caught.value)
