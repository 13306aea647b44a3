"""What is not finite is an error of its own: no kind of claim takes it for a success, wherever it comes from."""

import dataclasses
import json
import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from broken_engines import with_modules
from hypothesis import strategies as st

from ddg_ref.runs.engines import ENGINES
from theory import bounds, campaign, matrix, records
from theory.__main__ import table, verdict
from theory.cases import Case
from theory.claims import CLAIMS, Kind, Outcome
from theory.claims.any_optimizer import OptimizerCase
from theory.claims.claim import largest, worst
from theory.claims.lemma_1_search import Integers
from theory.claims.lin_constant import Circling
from theory.claims.momentum_threshold import MomentumQuadraticCase
from theory.claims.other_optimizers import AdamCase
from theory.claims.quadratic_threshold import QuadraticCase
from theory.claims.reduction import PAIRS, Constants
from theory.claims.worst_constant import Step
from theory.delayed import ddg
from theory.examine import Examination, Finding, examine
from theory.recipes import RecipeCase
from theory.system import SystemCase

GENERIC = Case("logistic", K=3, n=2, T=4, steps="constant", gamma_L=0.05, start=1.0, seed=1)
SYSTEM = SystemCase("mlp", "sgd", "harmonic", "reference", "float64", cuts=(2, 4), iterations=7, seed=1)
CONSTANTS = Constants(A=1.0, L=1.0, M=1.0, gamma_L=0.01, T=10)
SEARCHED = {
    "lemma-1-search-history": Integers(((1, 0),), ((0,), (1,)), (1, 0), 1, 100, (0,)),
    "lemma-1-search-warm-up": Integers(((1, 0),), ((1,),), (1, 0), 1, 1000, ()),
}


def case_of(claim):
    """A case on which the claim behaves as expected, with more than one of everything where that is allowed."""
    if claim.id in SEARCHED:
        return SEARCHED[claim.id]
    if claim.kind is Kind.FALSE_AS_STATED:
        return claim.strategy.elements[-1]
    if claim.case_type is OptimizerCase:
        return OptimizerCase("momentum", GENERIC)
    if claim.case_type is Step:
        return Step(K=3, share=0.5)
    if claim.case_type is QuadraticCase:
        return QuadraticCase(K=3, extra=1, curvature=1.0, seed=0)
    if claim.case_type in (RecipeCase, MomentumQuadraticCase, AdamCase):
        return matrix.ordinary(claim)[0]
    if claim.case_type is Circling:
        return Circling(K=2)
    changes = {
        "pipedream": {"family": "network"},
        "one-module": {"K": 1},
        "lyapunov": {"n": 1},
        "theorem-d0": {"n": 1},
        **{name: {"n": 1} for name in ("warm-up", "energy", "theorem-f", "best-step-f", "theorem-g", "conjecture-w")},
    }
    return {SystemCase: SYSTEM, Constants: CONSTANTS, Case: replace(GENERIC, **changes.get(claim.id, {}))}[
        claim.case_type
    ]


def on(claim, case, iteration):
    """What an examination of this one case says."""
    return examine(replace(claim, strategy=st.just(case)), 1, 0, iteration=iteration)


def counted(calls):
    def iteration(problem, w0, samples, rule):
        calls.append(1)
        return ddg(problem, w0, samples, rule)

    return iteration


def runs_an_iteration(claim):
    calls = []
    claim.check(case_of(claim), counted(calls))
    return bool(calls)


ITERATING = [claim.id for claim in CLAIMS.values() if runs_an_iteration(claim)]


def planted(value, place):
    """DDG, with `value` in one coordinate of one iterate of one history; everywhere if `place` is None."""

    def iteration(problem, w0, samples, rule):
        w = ddg(problem, w0, samples, rule).copy()
        planted = Decimal(value) if isinstance(w.flat[0], Decimal) else float(value)
        if place is None:
            w[...] = planted
        else:
            w[place] = planted
        return w

    return iteration


PLACES = [None, *((t, r, j) for t in (0, 1, -1) for r in (0, -1) for j in (0, -1))]


def test_all_but_those_that_watch_engines_or_bounds_alone_run_an_iteration():
    assert set(CLAIMS) - set(ITERATING) == {
        *("pipedream-networks", "running-drain", "reduction", "monotone-in-k", "order", "worst-constants")
    }


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_cases_here_are_as_expected(claim):
    assert on(claim, case_of(claim), ddg).as_expected


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ITERATING)
def test_one_coordinate_of_one_iterate_is_noticed_by_every_claim(name, value):
    claim = CLAIMS[name]
    case = case_of(claim)
    for place in PLACES:
        outcome = claim.check(case, planted(value, place))
        assert not outcome.finite, place
        assert outcome.violates(claim.kind) == (claim.kind is not Kind.FALSE_AS_STATED), place
    found = on(claim, case, planted(value, PLACES[-1]))
    assert not found.as_expected
    assert "NOT FINITE" in verdict(found)
    assert table([found]).row_count == 1


@pytest.mark.parametrize("name", ["pipedream-networks", "running-drain", "running-view"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_an_engine_does_not_return_as_a_number_is_noticed(name, optimizer, value):
    claim = CLAIMS[name]
    if (name, optimizer) == ("running-view", "adam"):
        optimizer = "momentum"
    case = replace(SYSTEM, optimizer=optimizer, steps="constant")
    intact = case.observed
    places = [("w", (t, j)) for t in range(len(intact.w)) for j in (0, len(intact.w[0]) - 1)]
    for what, place in [*places, ("drained", 0), ("drained", -1)]:
        array = getattr(intact, what).copy()
        array[place] = value
        seen = replace(case)
        seen.__dict__["observed"] = replace(intact, **{what: array})
        outcome = claim.check(seen, ddg)
        assert not outcome.finite, (what, place)
        assert outcome.violates(claim.kind)


def test_a_gradient_that_an_engine_applied_is_noticed():
    applied = [[g.copy() for g in gradients] for gradients in SYSTEM.observed.applied]
    applied[1][2][0] = np.nan
    case = replace(SYSTEM)
    case.__dict__["observed"] = replace(SYSTEM.observed, applied=applied)
    assert not CLAIMS["running-drain"].check(case, ddg).finite


def test_an_engine_that_applies_too_few_gradients_violates_in_numbers():
    applied = [gradients[:-1] for gradients in SYSTEM.observed.applied]
    case = replace(SYSTEM)
    case.__dict__["observed"] = replace(SYSTEM.observed, applied=applied)
    outcome = CLAIMS["running-drain"].check(case, ddg)
    assert outcome.finite
    assert outcome.violates(Kind.IDENTITY)
    assert "module 1 applied 4 gradients, not 5" in outcome.note


def test_an_engine_with_nan_weights_is_no_example_of_anything(monkeypatch):
    def nan_update(module, K):
        intact = module.update

        def update(grads, gamma):
            intact(grads, gamma)
            module.params = {name: np.full_like(array, np.nan) for name, array in module.params.items()}

        module.update = update

    monkeypatch.setitem(ENGINES, "reference", with_modules(nan_update))
    for name in ("pipedream-networks", "running-drain", "running-view"):
        with np.errstate(invalid="ignore"):
            found = on(CLAIMS[name], replace(SYSTEM), ddg)
        assert "NOT FINITE" in verdict(found)
        assert "the loss became nan at iteration" in found.violation.outcome.note


@pytest.mark.parametrize("bound", [name for name in PAIRS if name not in ("lemma_r_simple", "lemma_r_full")])
def test_a_bound_that_is_not_a_number_is_noticed(bound, monkeypatch):
    intact = getattr(bounds, bound)
    for name in ("reduction", "monotone-in-k", "order"):
        if name == "order" and bound not in ("theorem_1", "theorem_1_lin", "theorem_1_clean", "theorem_1_sharp"):
            continue
        K = 1 if name == "reduction" else 3

        def broken(*arguments, K=K):
            return math.nan if K in arguments[:4] else intact(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(bounds, bound, broken)
            outcome = CLAIMS[name].check(replace(CONSTANTS, L=2.5, M=7.5, A=1.5), ddg)
        assert not outcome.finite, name


NOT_FINITE = [
    Outcome(**{"measured": 0.5, "bound": 1.0, "slack": 0.1} | {field: value})
    for field in ("measured", "bound", "slack")
    for value in (math.nan, math.inf, -math.inf)
]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("outcome", NOT_FINITE, ids=str)
def test_no_kind_of_claim_passes_with_it(kind, outcome):
    claim = next(claim for claim in CLAIMS.values() if claim.kind is kind)
    assert not outcome.finite
    assert outcome.violates(kind) == (kind is not Kind.FALSE_AS_STATED)
    found = on(replace(claim, check=lambda case, iteration: outcome), case_of(claim), ddg)
    assert not found.as_expected
    assert "NOT FINITE" in verdict(found)


def test_one_case_that_is_not_finite_outweighs_all_that_are():
    """Whatever else was found, before or after, also where a refutation was looked for."""
    for kind in Kind:
        claim = next(claim for claim in CLAIMS.values() if claim.kind is kind)
        fine = Examination(claim, 3)
        if kind is Kind.FALSE_AS_STATED:
            fine.violation = fine.worst = Finding("x", Outcome(2.0, 1.0))
        lost = Examination(claim, 3, violation=Finding("a long case", NOT_FINITE[0]))
        for first, second in ((fine, lost), (lost, fine)):
            total = Examination(claim)
            total.merge(first)
            total.merge(second)
            assert not total.as_expected
            assert "NOT FINITE" in verdict(total)
            assert total.worst.case == "a long case"
        assert fine.as_expected


def test_shrinking_does_not_lose_it():
    """A violation that is simpler than every case that is not finite."""
    claim = CLAIMS["lemma-1-search-history"]

    def check(case, iteration):
        return Outcome(math.nan, 1.0) if len(case.directions) > 1 else Outcome(2.0, 1.0)

    for seed in range(5):
        found = examine(replace(claim, check=check, strategy=claim.strategy), 50, seed)
        if not found.violation.outcome.finite:
            assert not found.as_expected
            break
    else:
        pytest.fail("no case with two directions was drawn first")


def test_what_was_recorded_as_not_finite_never_agrees(tmp_path):
    found = examine(CLAIMS["distance"], 3, 0)
    path = tmp_path / "kept.json"
    for field in ("measured", "bound", "slack"):
        for value in (math.nan, math.inf):
            data = records.to_json(found)
            data["worst"][field] = value
            path.write_text(json.dumps({"seed": 0, "claims": [data]}))
            (replayed,) = campaign.replay(path)
            assert not replayed.agrees, (field, value)


def test_a_finding_that_is_not_finite_is_kept_and_read_again(tmp_path):
    claim = CLAIMS["distance"]
    found = on(claim, GENERIC, planted("nan", (1, 0, 0)))
    records.write(tmp_path / "kept.json", [found], 0)
    (again,) = records.read(tmp_path / "kept.json")
    assert "NOT FINITE" in verdict(again)
    assert again.violation.case == GENERIC


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_worst_takes_what_is_not_finite(value, place):
    for which in range(3):
        sides = [np.array([1.0, 0.9, 0.8]), np.array([2.0, 2.0, 2.0]), np.array([0.1, 0.1, 0.1])]
        assert worst(*sides).finite
        sides[which][place] = value
        assert not worst(*sides).finite


def test_largest_keeps_nan_wherever_it_stands():
    assert largest(np.array([-3.0, 2.0]), 1.0) == 3.0
    assert largest() == largest(np.zeros((0, 2))) == 0.0
    for place in range(3):
        values = [1.0, 2.0, 3.0]
        values[place] = math.nan
        assert math.isnan(largest(*values))
        assert math.isnan(largest(np.array(values), 5.0))
        assert math.isnan(largest(5.0, np.array(values)))


def test_a_start_whose_value_is_not_a_number_has_no_a():
    case = replace(GENERIC)
    case.__dict__["w0"] = np.full(case.problem.d, np.nan)
    with np.errstate(invalid="ignore"):
        assert math.isnan(case.A)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="start: expected a finite number"):
            replace(GENERIC, start=value)


def test_every_field_of_an_outcome_counts():
    numbers = [f.name for f in dataclasses.fields(Outcome) if f.type == "float"]
    assert numbers == ["measured", "bound", "slack", "undelayed"]
