"""Conjectures about worst cases: nobody has proved them, no search and no semidefinite program has refuted them."""

from __future__ import annotations

from theory import adversaries, conjectures
from theory.claims.claim import Claim, Kind
from theory.claims.theorem_d import checker as checker_of_variance
from theory.claims.theorem_g import checker
from theory.families import FAMILIES
from theory.strategies import around_threshold, below_threshold, cases

W = Claim(
    id="conjecture-w",
    statement=r"\sum_{t<T}\|\nabla f(w^t)\|^2 \le 2LA\sum_{t<T} r_t^2,"
    r" \; r_{t+1} = r_t - \gamma L r_{t-K+1}, \; r_0 = 1",
    hypotheses="n = 1, constant step of any size; no bound on gradients",
    source="ours, PROOFS.md section 5, Conjecture W; proved for the certificates of certificates.json",
    kind=Kind.CONJECTURE,
    strategy=cases(tuple(FAMILIES), gamma_L=around_threshold, samples=(1,)),
    check=checker(conjectures.exact_gradients),
    adversaries=adversaries.DECAY + adversaries.NEAR,
)
V = Claim(
    id="conjecture-v",
    statement=r"S_T \le C_{\mathrm{ex}}\left(\tfrac{A}{\gamma T} + \tfrac{\gamma L\nu^2}{2}\right)",
    hypotheses="variance at most nu^2, constant gamma L < 2 sin(pi/(2(2K-1))); no bound on gradients",
    source="ours, PROOFS.md section 5, Conjecture V",
    kind=Kind.CONJECTURE,
    strategy=cases(tuple(FAMILIES), gamma_L=below_threshold),
    check=checker_of_variance(conjectures.variance),
    adversaries=adversaries.DECAY + adversaries.NEAR,
)
