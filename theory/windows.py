"""The sums of squares behind Lemma M and Theorems F and G, for given K and T, in exact arithmetic.

With L = 1 and h_t the applied gradients, descent `f_t - f_{t+1} >= g <a_t, h_t> - (g^2/2)||h_t||^2` and smoothness
`||a_{t+1} - a_t||^2 <= g^2 ||h_t||^2`, the latter times m, add up over t < N to f_0 - f_N at least a form in the
gradients. Each function returns that form, plus what Lemma M pays for and minus what is claimed, as a matrix per block:
the statement holds for this K and T if all are positive semidefinite (`certificates.semidefinite`). PROOFS.md section 5
shows it for all.
"""

from __future__ import annotations

from fractions import Fraction

from theory.certificates import Matrix


def forms(K: int, N: int, g: Fraction, m: Fraction, losses: list[Fraction], claimed: list[Fraction]) -> list[Matrix]:
    """Per block: sum_{t<N} (g <g_t, h_t> - g^2/2 |h_t|^2) + m sum_{t<N-1} (|g_{t+1} - g_t|^2 - g^2 |h_t|^2)
    + sum_s (losses_s - claimed_s) |g_s|^2."""
    found = []
    for delay in range(K - 1, -1, -1):
        S = [[Fraction(0)] * N for _ in range(N)]
        for t in range(delay, N):
            s = t - delay
            S[t][s] += g / 2
            S[s][t] += g / 2
            S[s][s] -= g * g / 2 + (m * g * g if t < N - 1 else 0)
        for t in range(N - 1):
            S[t][t] += m
            S[t + 1][t + 1] += m
            S[t][t + 1] -= m
            S[t + 1][t] -= m
        for s, loss in enumerate(losses[:N]):
            S[s][s] += loss
        for s, share in enumerate(claimed[:N]):
            S[s][s] -= share
        found.append(S)
    return found


def lemma_m(K: int, N: int, g: Fraction) -> list[Matrix]:
    """f_N <= f_0, for N <= K-2."""
    return forms(K, N, g, g / 2 * (N * N // 4), [], [])


def theorem_f(K: int, T: int, g: Fraction, c: Fraction | None = None) -> tuple[list[Matrix], Fraction]:
    """Of g c sum_{t<T} ||a_t||^2 <= (1 + g d) A, with its c or another one: the matrices, and (1 + g d)/(g c)."""
    d = K - 1
    c = 1 - g / 2 - (g * d) ** 2 / 2 if c is None else c
    losses = [g / 2] * d
    return forms(K, T + d, g, g * d * d / 2, losses, [g * c] * T), (1 + 2 * sum(losses)) / (g * c)


def theorem_g(K: int, T: int, u: Fraction, shrink: Fraction = Fraction(1)) -> tuple[list[Matrix], Fraction, Fraction]:
    """Of g c sum_{t<T} ||a_t||^2 <= (1 + g d K0) A at tan(psi/2) = u, for which g = 2 sin psi is rational: the
    matrices (with c times `shrink`), (1 + g d K0)/(g c), and g."""
    d = K - 1
    sine, cosine = 2 * u / (1 + u * u), (1 - u * u) / (1 + u * u)
    g = 2 * sine
    cos_n, sin_n = Fraction(1), Fraction(0)  # of n e, e = 2 psi
    cos_e, sin_e = cosine**2 - sine**2, 2 * sine * cosine
    for _ in range(d):
        cos_n, sin_n = cos_n * cos_e - sin_n * sin_e, sin_n * cos_e + cos_n * sin_e
    mu = sin_n / (2 * sin_e)
    kappa = 4 * mu * sine**2
    kappa_0, K0 = (cos_n + kappa) / 2, cos_n + d * kappa
    c = (cos_n - sine) * shrink
    losses = [g * (K0 - kappa_0 - s * kappa) for s in range(d)]
    return forms(K, T + d, g, g * d * mu, losses, [g * c] * T), (1 + 2 * sum(losses)) / (g * c), g
