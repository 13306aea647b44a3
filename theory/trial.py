"""An implementation of DDG on trial: the claims about the iteration, and the known mistakes that it behaves like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis.errors import Flaky

from theory.campaign import Plan
from theory.candidate import Candidate, CandidateError
from theory.cases import Case
from theory.claims import CLAIMS, Claim, Outcome
from theory.claims.claim import largest, rounding
from theory.delayed import Iteration, Objective, ddg, drained_recursion
from theory.examine import Examination, examine
from theory.optimizers import SGD
from theory.problems import Array
from theory.wrong import CATALOGUE

IDENTITIES = ("drained-identity", "delayed-view", "draining", "pipedream", "one-module")
ON_TRIAL = (
    *IDENTITIES,
    *("distance", "lemma-v", "lemma-v-half", "back-to-w"),
    *("theorem-1", "theorem-1-lin", "theorem-1-clean", "theorem-1-sharp", "best-step-lin", "best-step-clean"),
    *("theorem-2", "theorem-2-shifted", "theorem-2-weighted", "theorem-2-harmonic"),
    *("lemma-r-simple", "lemma-r-half", "lemma-r-full", "lemma-1-on-average"),
    *("lyapunov", "theorem-d0", "theorem-d", "theorem-d-simple", "quadratic-stable", "quadratic-threshold"),
    *("warm-up", "energy", "theorem-f", "best-step-f", "theorem-g", "worst-quadratic"),
)
"""The claims about plain SGD with DDG's delays."""
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "formulas": ("reduction", "monotone-in-k", "order", "worst-constants", "lin-constant-lower"),
    "conjectures": ("conjecture-w", "conjecture-v", "lin-conjecture"),
    "false statements": tuple(name for name, claim in CLAIMS.items() if claim.kind.value == "false as stated"),
    "ddg_ref's networks": ("running-view", "running-drain", "pipedream-networks"),
    "momentum, weight decay, schedules, epochs, Adam": (
        *("any-optimizer", "coasted-identity", "coasting", "coasted-distance", "coasted-descent"),
        *("momentum-lin", "momentum-clean", "momentum-sharp", "momentum-d", "momentum-d0", "heavy-ball-d0"),
        *("momentum-stable", "momentum-threshold", "two-modules", "epoch-distance", "any-order", "any-order-weights"),
        *("shuffled", "shuffled-variance", "default-training", "default-training-shuffled"),
        *("steps-blockwise", "steps-weighted", "steps-clean", "steps-warm-up"),
        *("decay-bounded", "decay-lin", "decay-d0", "any-optimizer-descent", "adam-distance", "adam-mean-square"),
    ),
}
"""All others, by what they are about."""

BATTERY = tuple(
    Case(family, K, 3, K + 4, steps, 0.5, 1.0, seed=K)
    for family in ("sqrt+noise", "logistic", "network")
    for K in (2, 3, 4, 5, 1)
    for steps in ("constant", "arbitrary")
)
"""Where an implementation is compared with the known ones; 4 sequences of samples each."""

HISTORIES, LONGEST = 300, 1000
"""An implementation is called for one sequence of samples after another, so it is examined on cases of at most so many,
and so many iterations."""

Trajectories = Callable[[Objective, Array, Array, Array], Array]
"""(problem, w0, samples (R, T), gammas (T+K-1,)) -> w^0..w^T and the K-1 draining iterations, (T+K, R, d)."""


def reference(problem: Objective, w0: Array, samples: Array, gammas: Array) -> Array:
    """DDG and its draining. A longer run on any samples has the same w_k^t up to t = T + d_k, when the last gradient
    of the data has been applied to module k."""
    K, T = len(problem.blocks), samples.shape[1]
    w = ddg(problem, w0, np.pad(samples, ((0, 0), (0, K - 1)), mode="edge"), SGD(gammas))
    for k, block in enumerate(problem.blocks, start=1):
        w[T + K - k :, :, block] = w[T + K - k, :, block]
    return w


def _not_drained(w: Array, K: int) -> Array:
    return np.concatenate([w[: len(w) - K + 1], np.repeat(w[len(w) - K : len(w) - K + 1], K - 1, axis=0)])


def _drained_short(w: Array, K: int) -> Array:
    return w if K == 1 else np.concatenate([w[:-1], w[-2:-1]])


DRAINING: dict[str, Callable[[Array, int], Array]] = {
    "missing drain": _not_drained,
    "draining one iteration short": _drained_short,
}
"""What is made of DDG's iterates, (T+K, R, d), by one that drains wrongly."""


@dataclass(frozen=True)
class Difference:
    """The first entry that is not as expected: iteration t, module k, coordinate j of w, in history r."""

    t: int
    k: int
    j: int
    r: int
    expected: Any
    got: Any

    def __str__(self) -> str:
        sides = f"expected {self.expected}, got {self.got}"
        return f"iteration {self.t}, module {self.k}, coordinate {self.j}: {sides}"


def difference(blocks: tuple[slice, ...], expected: Array, got: Array) -> Difference | None:
    """The first difference beyond rounding, None if there is none: two (.., R, d), floats or exact numbers."""
    gap = np.abs(np.asarray(got - expected, dtype=float))
    tolerance = 1e-9 * (1 + np.abs(np.asarray(expected, dtype=float)).max())
    there = np.argwhere(~(gap <= tolerance))  # NaN is a difference
    if not len(there):
        return None
    t, r, j = (int(i) for i in there[0])
    k = next(k for k, block in enumerate(blocks, start=1) if block.start <= j < block.stop)
    return Difference(t, k, j, r, expected[t, r, j], got[t, r, j])


def few(case: Case) -> Array:
    """4 sequences of samples, (4, T)."""
    return np.random.default_rng([case.seed, 3]).integers(case.n, size=(4, case.T))


def names(case: Case, w: Array) -> set[str]:
    """The entries of the catalogue whose iterates on `few(case)` are w, (T+K, 4, d), to rounding; draining counts where
    all before it is DDG's."""
    blocks, samples, T = case.problem.blocks, few(case), case.T
    found = {
        name
        for name, iteration in CATALOGUE.items()
        if difference(blocks, iteration(case.problem, case.w0, samples, SGD(case.gammas)), w[: T + 1]) is None
    }
    right = reference(case.problem, case.w0, samples, case.gammas)
    return found | {name for name, wrong in DRAINING.items() if difference(blocks, wrong(right, case.K), w) is None}


@dataclass(frozen=True)
class Comparison:
    """`case` is the first of the battery on which there is a `difference`; both None if there is none. `known`: the
    entries of the catalogue that do the same on all of it. `drains`: whether anything moves after the last batch."""

    case: Case | None
    difference: Difference | None
    known: tuple[str, ...]
    drains: bool


def compare(candidate: Trajectories, battery: Iterable[Case] = BATTERY) -> Comparison:
    """Run the battery. Raises CandidateError for what is not a number there, or differs from call to call."""
    first: tuple[Case, Difference] | None = None
    known, drains = {*CATALOGUE, *DRAINING}, False
    for case in battery:
        arguments = case.problem, case.w0, few(case), case.gammas
        w = candidate(*arguments)
        _expect_numbers(case, w)
        if not np.array_equal(w, candidate(*arguments)):
            raise CandidateError(
                "iteration: expected the same w for the same arguments, got another one the second time; "
                "keep nothing between calls, and draw nothing at random"
            )
        found = difference(case.problem.blocks, reference(*arguments), w)
        if found is not None and first is None:
            first = case, found
        known &= names(case, w)
        drains |= case.K > 1 and not np.array_equal(w[case.T], w[-1])
    case_, difference_ = first or (None, None)
    return Comparison(case_, difference_, tuple(name for name in (*CATALOGUE, *DRAINING) if name in known), drains)


def _expect_numbers(case: Case, w: Array) -> None:
    if not np.isfinite(w).all():
        t, _, j = (int(i) for i in np.argwhere(~np.isfinite(w))[0])
        raise CandidateError(
            f"iteration: expected numbers, got {w[t][~np.isfinite(w[t])][0]} in w^{t}, coordinate {j}; "
            f"every row and block needs a value (K = {case.K}, T = {case.T})"
        )


# --- claims ------------------------------------------------------------------------------------------------


def chosen(ids: Iterable[str]) -> list[Claim]:
    """The claims of these ids, all that are on trial if there are none; ValueError for another one."""
    wanted = list(ids)
    for name in wanted:
        if name not in ON_TRIAL:
            raise ValueError(f"claims: expected, of an iteration, some of {', '.join(ON_TRIAL)}, got {name!r}")
    return [CLAIMS[name] for name in wanted or ON_TRIAL]


def by_rounding(case: Case) -> float:
    """How far from DDG's iterates on a case those may be that round otherwise: 10 times what changing the start and
    each gradient in the 14th digit does, since differences may grow from iteration to iteration."""
    problem, rng = case.problem, np.random.default_rng(0)

    def shaken(values: Array) -> Array:
        return np.asarray(values + 1e-14 * np.abs(values).max() * rng.uniform(-1, 1, values.shape))

    class Shaken:
        blocks = problem.blocks

        def gradient(self, i: int | Array, w: Array) -> Array:
            return shaken(problem.gradient(i, w))

    samples, gammas = case.sequences.samples, case.gammas
    w = reference(problem, case.w0, samples, gammas)
    moved = [w - reference(Shaken(), shaken(case.w0), samples, gammas) for _ in range(4)]
    return rounding(w) + 10 * largest(*moved)


def small(case: Any) -> bool:
    """Whether an implementation that is called for one history after another can be asked."""
    return not isinstance(case, Case) or (case.n**case.T <= HISTORIES and case.T <= LONGEST)


def asked_of_others(claim: Claim, candidate: Trajectories) -> Claim:
    """The claim on small cases. What holds bit for bit for the same operations in the same order holds to rounding for
    the same formulas; and it is they who drain."""
    near = tuple(case for case in claim.adversaries if small(case))
    claim = replace(claim, strategy=claim.strategy.filter(small), adversaries=near)
    if claim.id not in IDENTITIES:
        return claim
    check = claim.check

    def relaxed(case: Case, iteration: Iteration) -> Outcome:
        outcome = _drains(case, candidate) if claim.id == "draining" else check(case, iteration)
        return replace(outcome, bound=max(outcome.bound, by_rounding(case)))

    return replace(claim, check=relaxed)


def _drains(case: Case, candidate: Trajectories) -> Outcome:
    """The last weights that the implementation returns against x^T of the drained recursion."""
    samples = case.sequences.samples
    x = drained_recursion(case.problem, case.w0, samples, SGD(case.gammas))
    return Outcome(largest(candidate(case.problem, case.w0, samples, case.gammas)[-1] - x[-1]), 0.0)


def examinations(
    candidate: Candidate, plan: Plan, progress: Callable[[str], None] = lambda text: None
) -> list[Examination]:
    """Examine every claim of the plan on the candidate, in this process. Raises CandidateError."""
    found = {claim.id: Examination(claim) for claim in plan.claims}
    for name, examples, seed in plan.chunks():
        progress(name)
        if found[name].violation is not None:
            continue
        claim = asked_of_others(CLAIMS[name], candidate.whole)
        try:
            part = examine(claim, examples, seed, iteration=candidate)
        except Flaky:
            raise CandidateError(
                f"{candidate.name}: expected the same w for the same arguments, got another one the second time"
            ) from None
        found[name].merge(replace(part, claim=CLAIMS[name]))
    return list(found.values())
