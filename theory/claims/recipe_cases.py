"""Cases for the claims about what people run: small, so that all orders of the samples can be listed quickly."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from theory.cases import Case
from theory.families import BOUNDED_FAMILIES
from theory.recipes import Recipe, RecipeCase
from theory.strategies import ANY_STEPS, seeds

LONGEST = {1: 24, 2: 7, 3: 4}
"""Iterations, by n: at most 128 sequences."""
MOST_EPOCHS = {1: 16, 2: 7, 3: 3, 4: 1}
"""Epochs, by n: at most 216 orders."""
BETAS = (0.0, 0.3, 0.5, 0.9)


@st.composite
def recipe_cases(
    draw: st.DrawFn,
    families: tuple[str, ...] = BOUNDED_FAMILIES,
    *,
    steps: tuple[str, ...] = ("constant",),
    gamma_L: tuple[float, ...] | Callable[[int], tuple[float, ...]] = ANY_STEPS,
    min_K: int = 1,
    max_K: int = 5,
    samples: tuple[int, ...] = (1, 2, 3),
    betas: tuple[float, ...] = BETAS,
    forms: tuple[bool, ...] = (False, True),
    decays: tuple[float, ...] = (0.0,),
    scheduled: bool = False,
    epochs: bool = False,
) -> RecipeCase:
    """A problem, and a recipe for it. `scheduled` adds warm-up and drops; with `epochs` these come between epochs, and
    gamma_L is divided by n, as eta L n is what the theorems limit."""
    K = draw(st.integers(min_K, max_K), label="K")
    n = draw(st.sampled_from(samples), label="n")
    longest = MOST_EPOCHS if epochs else LONGEST
    length = draw(st.integers(1, longest[n]), label="epochs" if epochs else "T")
    T, unit = (length * n, n) if epochs else (length, 1)
    beta = draw(st.sampled_from(betas), label="beta")
    recipe = Recipe(
        beta=beta,
        nesterov=draw(st.sampled_from(forms), label="Nesterov") if beta else False,
        decay=draw(st.sampled_from(decays), label="decay/L"),
        warm_up=draw(st.integers(0, T), label="warm-up") if scheduled else 0,
        milestones=tuple(
            unit * place
            for place in sorted(draw(st.sets(st.integers(1, length), max_size=2 * scheduled), label="milestones"))
        ),
        factor=draw(st.sampled_from((0.1, 0.5)), label="factor") if scheduled else 0.1,
    )
    allowed = gamma_L(K) if callable(gamma_L) else gamma_L
    case = Case(
        family=draw(st.sampled_from(families), label="family"),
        K=K,
        n=n,
        T=T,
        steps=draw(st.sampled_from(steps), label="steps"),
        gamma_L=draw(st.sampled_from(allowed), label="eta L") / unit,
        start=draw(st.sampled_from((0.0, 0.3, 1.0, 3.0, 10.0)), label="start"),
        seed=draw(seeds, label="seed"),
    )
    return RecipeCase(case, recipe, epochs)


def first(
    family: str, K: int, T: int, gamma_L: float, start: float, beta: float = 0.9, nesterov: bool = False
) -> RecipeCase:
    """A function of the most delayed module, one sample, constant steps."""
    case = Case(family, K, 1, T, "constant", gamma_L, start, seed=0)
    return RecipeCase(case, Recipe(beta=beta, nesterov=nesterov))
