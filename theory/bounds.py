"""The inequalities, one function each. Symbols, everywhere:

K blocks; L Lipschitz constant of grad f; M bound of ||grad f_i||^2; nu2 = nu^2 bound of the sampling
variance; A = f(w^0) - f_star; gamma (or gammas[t]) the step size; T iterations; d_k = K - k;
S_T = (1/T) sum_{t<T} E||grad f(w^t)||^2.

"As commonly stated" marks the statements of Huo, Gu, Yang, Huang (ICML 2018, arXiv 1804.10574) as they are
usually quoted. The others are proved in PROOFS.md beside this file. Every function raises ValueError for a
symbol outside its range (`symbols.py`), and none asks for more than it uses.
"""

from __future__ import annotations

import math

import numpy as np

from theory.checks import integer, positive
from theory.problems import Array
from theory.symbols import checked


def _at_least(gammas: Array, needed: int) -> None:
    if len(gammas) < needed:
        raise ValueError(f"gammas: expected at least {needed} steps > 0, got {len(gammas)}; extend the sequence")


def _expect_noise(A: float, M: float) -> None:
    positive("A", A)
    if M == 0:
        raise ValueError("M: expected a number > 0, got 0; without noise a larger step always gives a smaller bound")


# --- the paper, as commonly stated -------------------------------------------------------------------------


@checked
def paper_m_k(K: int, M: float, sigma: float = 1) -> float:
    """M_K = K M + sigma K^4 M (as commonly stated, with Lemma 1)."""
    return K * M + sigma * K**4 * M


@checked
def lemma_1_sigma(gammas: Array, K: int) -> float:
    """sigma = max_t gamma_{max(0, t-K+1)}/gamma_t over the steps given (as commonly stated, with Lemma 1)."""
    _at_least(gammas, 1)
    earlier = gammas[np.maximum(0, np.arange(len(gammas)) - K + 1)]
    return float((earlier / gammas).max())


@checked
def lemma_1(gamma: float, L: float, M: float, K: int, grad2: float, sigma: float = 1) -> float:
    """-(gamma/2) grad2 + gamma^2 L M_K, said to bound E f(w^{t+1}) - f(w^t) if gamma L <= 1.

    Lemma 1 as commonly stated; grad2 = ||grad f(w^t)||^2. False per history, in warm-up and for non-monotone
    steps.
    """
    return -gamma / 2 * grad2 + gamma**2 * L * paper_m_k(K, M, sigma)


@checked
def theorem_1(A: float, L: float, M: float, K: int, gamma: float, T: int) -> float:
    """S_T <= 2A/(gamma T) + 2 gamma L M_K, for gamma L <= 1 (Theorem 1 as commonly stated; true, and
    loose)."""
    return 2 * A / (gamma * T) + 2 * gamma * L * paper_m_k(K, M)


@checked
def theorem_1_best_step(A: float, L: float, M: float, K: int, T: int) -> float:
    """gamma = sqrt(A/(L M_K T)), which minimises Theorem 1's right side (corollary, as commonly stated); if M = 0 that
    falls with gamma, and gamma = 1/L is the largest that the theorem admits."""
    positive("A", A)
    if M == 0:
        return 1 / L
    return math.sqrt(A / (L * paper_m_k(K, M) * T))


@checked
def corollary_1(A: float, L: float, M: float, K: int, T: int) -> float:
    """S_T <= 4 sqrt(A L M_K/T): Theorem 1 at its best step (corollary, as commonly stated; needs gamma L <=
    1)."""
    return 4 * math.sqrt(A * L * paper_m_k(K, M) / T)


@checked
def theorem_2(A: float, L: float, M: float, K: int, gammas: Array, T: int) -> float:
    """(1/Gamma) sum gamma_t E||grad f(w^t)||^2 <= 2A/Gamma + 2 L M_K sum gamma_t^2/Gamma, sums over t < T,
    sigma = K.

    Theorem 2 as commonly stated, for gamma_t = gamma_0/(1+t). Also its corollary: the left side is E||grad
    f(w^z)||^2 for an index z drawn with probability proportional to gamma_z.
    """
    _at_least(gammas, T)
    steps = gammas[:T]
    return float((2 * A + 2 * L * paper_m_k(K, M, sigma=K) * (steps**2).sum()) / steps.sum())


# --- through the drained iterate ---------------------------------------------------------------------------


@checked
def distance(gammas: Array, M: float, K: int, t: int) -> float:
    """||w^t - x^t|| <= (K-1) sqrt(M) max_{t <= j <= t+K-2} gamma_j, for every history and any steps (Lemma
    V0)."""
    _at_least(gammas, t + K - 1)
    return float((K - 1) * math.sqrt(M) * max(gammas[t : t + K - 1], default=0.0))


@checked
def lemma_v(gamma: float, L: float, M: float, K: int, grad2: float) -> float:
    """E[f(x^{t+1})|F_t] - f(x^t) <= -gamma grad2 + gamma^2 L M (K - 1/2), grad2 = ||grad f(w^t)||^2 (Lemma
    V)."""
    return -gamma * grad2 + gamma**2 * L * M * (K - 0.5)


@checked
def lemma_v_half(gamma: float, L: float, M: float, K: int, grad2: float) -> float:
    """E[f(x^{t+1})|F_t] - f(x^t) <= -(gamma/2) grad2 + (gamma^2 L M/2)(1 + gamma L (K-1)^2) (Lemma V, second
    form)."""
    return -gamma / 2 * grad2 + gamma**2 * L * M / 2 * (1 + gamma * L * (K - 1) ** 2)


@checked
def back_to_w(gamma: float, L: float, M: float, K: int) -> float:
    """f(w^t) - f(x^t) <= gamma (K-1) M + gamma^2 L M (K-1)^2/2, every t and history (Lemma V0 and smoothness)."""
    return gamma * (K - 1) * M + gamma**2 * L * M * (K - 1) ** 2 / 2


@checked
def theorem_1_lin(A: float, L: float, M: float, K: int, gamma: float, T: int) -> float:
    """S_T <= A/(gamma T) + (K - 1/2) gamma L M, any gamma > 0 (Theorem 1*, linear in K)."""
    return A / (gamma * T) + (K - 0.5) * gamma * L * M


@checked
def theorem_1_lin_best_step(A: float, L: float, M: float, K: int, T: int) -> float:
    """gamma = sqrt(A/(L M (K-1/2) T)); theorem_1_lin is then 2 sqrt(A L M (K-1/2)/T). Needs A, M > 0."""
    _expect_noise(A, M)
    return math.sqrt(A / (L * M * (K - 0.5) * T))


@checked
def theorem_1_clean(A: float, L: float, M: float, K: int, gamma: float, T: int) -> float:
    """S_T <= 2A/(gamma T) + gamma L M (1 + gamma L (K-1)^2), any gamma > 0 (Theorem 1*, K-free to first
    order)."""
    return 2 * A / (gamma * T) + gamma * L * M * (1 + gamma * L * (K - 1) ** 2)


@checked
def theorem_1_clean_best_step(A: float, L: float, M: float, K: int, T: int) -> float:
    """gamma = min{sqrt(2A/(L M T)), (A/(L^2 M (K-1)^2 T))^{1/3}}, near the minimum of theorem_1_clean. Needs A, M
    > 0."""
    _expect_noise(A, M)
    without_delay = math.sqrt(2 * A / (L * M * T))
    if K == 1:
        return without_delay
    return min(without_delay, math.cbrt(A / (L * L * M * (K - 1) ** 2 * T)))


@checked
def theorem_1_clean_rate(A: float, L: float, M: float, K: int, T: int) -> float:
    """S_T <= 2 sqrt(2 A L M/T) + 3 (A L (K-1) sqrt(M)/T)^{2/3} at theorem_1_clean_best_step."""
    return 2 * math.sqrt(2 * A * L * M / T) + 3 * math.cbrt(A * L * (K - 1) * math.sqrt(M) / T) ** 2


@checked
def theorem_1_sharp(A: float, L: float, M: float, K: int, gamma: float, T: int) -> float:
    """S_T <= (sqrt Q + sqrt(P+Q))^2, P = A/(gamma T) + gamma L M/2, Q = gamma^2 L^2 (K-1)^2 M/4 (Theorem 1*,
    sharp)."""
    P = A / (gamma * T) + gamma * L * M / 2
    Q = (gamma * L * (K - 1)) ** 2 * M / 4
    return (math.sqrt(Q) + math.sqrt(P + Q)) ** 2


@checked
def theorem_2_shifted(A: float, L: float, M: float, K: int, gammas: Array, T: int) -> float:
    """sum_t sum_k gamma_{t+d_k} E||grad_k f(w^t)||^2 <= A + L M (K-1/2) sum gamma_t^2, nonincreasing steps
    (Thm 2* (3))."""
    _at_least(gammas, T)
    return float(A + L * M * (K - 0.5) * (gammas[:T] ** 2).sum())


@checked
def theorem_2_weighted(A: float, L: float, M: float, K: int, gammas: Array, T: int) -> float:
    """sum gamma_t E||grad f(w^t)||^2 <= (3) + M sum_t (gamma_t - gamma_{t+K-1}), nonincreasing steps (Thm 2*
    (4))."""
    _at_least(gammas, T + K - 1)
    lost = gammas[:T] - gammas[K - 1 : T + K - 1]
    return theorem_2_shifted(A, L, M, K, gammas, T) + float(M * lost.sum())


@checked
def theorem_2_harmonic(A: float, L: float, M: float, K: int, gammas: Array, T: int) -> float:
    """sum gamma_t E||grad f(w^t)||^2 <= 2A + L M (K - 1/2 + 4(K-1)^2) sum gamma_t^2, gamma_t = gamma_0/(1+t)
    (Thm 2* (5))."""
    _at_least(gammas, T)
    return float(2 * A + L * M * (K - 0.5 + 4 * (K - 1) ** 2) * (gammas[:T] ** 2).sum())


# --- Lemma 1 repaired, on w itself -------------------------------------------------------------------------


@checked
def lemma_r_sigma(gammas: Array, K: int, t: int) -> float:
    """sigma_t = max_{t-K+1 <= j <= t} gamma_j/gamma_t: the maximum runs over the whole window (Lemma R), t >=
    K-1."""
    integer("t", t, K - 1)
    _at_least(gammas, t + 1)
    return float(max(gammas[t - K + 1 : t + 1]) / gammas[t])


@checked
def lemma_r_simple(K: int, sigma: float = 1) -> float:
    """C = K/2 + sigma sqrt(K) K(K-1)/2 + sigma K^2 (K-1)(2K-1)/6 in Lemma R, if L times every step in the
    window <= 1.

    Lemma R: for t >= K-1, E f(w^{t+1}) - E f(w^t) <= -(gamma_t/2) E||grad f(w^t)||^2 + gamma_t^2 L M C.
    """
    return K / 2 + sigma * (math.sqrt(K) * K * (K - 1) / 2 + K**2 * (K - 1) * (2 * K - 1) / 6)


@checked
def lemma_r_half(K: int, gamma_L: float, sigma: float = 1) -> float:
    """C = K/2 + sigma [sqrt 2 (K-1)^{3/2} + gamma_L (K-1)^2] in Lemma R; gamma_L = L times the window's
    largest step."""
    return K / 2 + sigma * (math.sqrt(2 * (K - 1) ** 3) + gamma_L * (K - 1) ** 2)


@checked
def lemma_r_full(K: int, sigma: float = 1) -> float:
    """C = K/2 + sqrt 2 sigma (K-1)(1 + sqrt(K-1)) in Lemma R with -gamma_t in place of -gamma_t/2; no step
    condition."""
    return K / 2 + math.sqrt(2) * sigma * (K - 1) * (1 + math.sqrt(K - 1))


# --- without bounded gradients -----------------------------------------------------------------------------


def _margin(gamma: float, L: float, K: int) -> float:
    """c = 1 - gamma L (K - 1/2), which Theorems D0 and D need to be positive."""
    c = 1 - gamma * L * (K - 0.5)
    if c <= 0:
        raise ValueError(f"gamma: expected gamma L < 2/(2K-1) = {2 / (2 * K - 1):g}, got {gamma * L:g}; lower the step")
    return c


@checked
def lyapunov_decrease(gamma: float, L: float, K: int, grad2: Array) -> Array:
    """V_t - V_{t+1} >= gamma (1 - gamma L (K-1/2)) grad2 for exact gradients (Theorem D0), with the Lyapunov
    function

    V_t = f(x^t) + (gamma^2 L/2) sum_{r=1}^{K-1} (K-r) ||grad f(w^{t-r})||^2.
    """
    return np.asarray(gamma * _margin(gamma, L, K) * grad2)


@checked
def theorem_d0(A: float, L: float, K: int, gamma: float, T: int) -> float:
    """S_T <= A/(gamma T (1 - gamma L (K-1/2))) for exact gradients and gamma L < 2/(2K-1) (Theorem D0)."""
    return A / (gamma * T * _margin(gamma, L, K))


@checked
def theorem_d(A: float, L: float, nu2: float, K: int, gamma: float, T: int) -> float:
    """sqrt(S_T) <= (R + sqrt(R^2 + 4cP))/(2c), c = 1 - gamma L (K-1/2) > 0, P = A/(gamma T) + gamma L nu^2/2,
    R = gamma L sqrt(K-1) nu (Theorem D: bounded variance in place of bounded gradients). Returns the bound on
    S_T."""
    c = _margin(gamma, L, K)
    P = A / (gamma * T) + gamma * L * nu2 / 2
    R = gamma * L * math.sqrt((K - 1) * nu2)
    return ((R + math.sqrt(R * R + 4 * c * P)) / (2 * c)) ** 2


@checked
def theorem_d_simple(A: float, L: float, nu2: float, K: int, gamma: float, T: int) -> float:
    """S_T <= 4A/(gamma T) + 4 gamma L nu^2 for gamma L <= 1/(2K-1) (Theorem D: the noise term is free of
    K)."""
    if gamma * L * (2 * K - 1) > 1 + 1e-12:
        raise ValueError(
            f"gamma: expected gamma L <= 1/(2K-1) = {1 / (2 * K - 1):g}, got {gamma * L:g}; lower the step"
        )
    return 4 * A / (gamma * T) + 4 * gamma * L * nu2


@checked
def quadratic_threshold(K: int) -> float:
    """g*(K) = 2 sin(pi/(2(2K-1))): DDG with exact gradients is stable on all quadratics with 0 < H <= L iff
    gamma L < g*, and S_T falls like 1/T on all L-smooth f bounded below iff gamma L < g* (Theorem G).

    2, 1, .618, .445, .347, .285 for K = 1..6. For one pure delay: Levin and May, 1976.
    """
    return 2 * math.sin(math.pi / (2 * (2 * K - 1)))


# --- exact gradients: the worst case -----------------------------------------------------------------------


def _angle(K: int, gamma_L: float) -> float:
    """psi = arcsin(gamma L/2), for which (2K-1) psi < pi/2, or ValueError: the threshold of all smooth f."""
    threshold = quadratic_threshold(K)
    if gamma_L >= threshold:
        raise ValueError(
            f"gamma: expected gamma L < 2 sin(pi/(2(2K-1))) = {threshold:g}, got {gamma_L:g}; lower the step"
        )
    return math.asin(gamma_L / 2)


@checked
def worst_constant(K: int, gamma_L: float) -> float:
    """C_ex = (1 + sin m psi)/(cos psi cos m psi), m = 2K-1, psi = arcsin(gamma L/2): on f = (L/2) w_1^2 the product
    gamma T S_T/A tends to it, so no smaller C has S_T <= C A/(gamma T) for every T."""
    psi = _angle(K, gamma_L)
    m = 2 * K - 1
    return (1 + math.sin(m * psi)) / (math.cos(psi) * math.cos(m * psi))


@checked
def theorem_f_constant(K: int, gamma_L: float) -> float:
    """C_F = (1 + gamma L (K-1))/c, c = 1 - gamma L/2 - (gamma L (K-1))^2/2, which must be positive (Theorem F)."""
    late = gamma_L * (K - 1)
    return (1 + late) / _share_f(gamma_L, K)


def _share_f(gamma_L: float, K: int) -> float:
    c = 1 - gamma_L / 2 - (gamma_L * (K - 1)) ** 2 / 2
    if c <= 0:
        raise ValueError(
            f"gamma: expected gamma L/2 + (gamma L (K-1))^2/2 < 1, got {1 - c:g} at {gamma_L:g}; lower the step"
        )
    return c


@checked
def theorem_f(A: float, L: float, K: int, gamma: float, T: int) -> float:
    """S_T <= C_F A/(gamma T), exact gradients, without bounded gradients, warm-up included (Theorem F)."""
    return theorem_f_constant(K, gamma * L) * A / (gamma * T)


@checked
def theorem_f_best_step(L: float, K: int) -> float:
    """gamma = 3/((4K-1) L), near the minimum of C_F/gamma for every K (about 0.7/((K - 1/2) L))."""
    return 3 / ((4 * K - 1) * L)


@checked
def theorem_f_rate(A: float, L: float, K: int, T: int) -> float:
    """S_T <= (13K - 5) L A/(4T) for exact gradients at theorem_f_best_step."""
    return (13 * K - 5) * L * A / (4 * T)


@checked
def energy_decrease(gamma: float, L: float, K: int, grad2: Array) -> Array:
    """V_t - V_{t+1} >= gamma (1 - gamma L/2 - (gamma L (K-1))^2/2) grad2 for exact gradients and t >= K-1, where
    V_t = f(w^t) plus a form in the gradients of t, .., t-K+1 (PROOFS.md section 5, the energy on w)."""
    return np.asarray(gamma * _share_f(gamma * L, K) * grad2)


@checked
def theorem_g_constant(K: int, gamma_L: float) -> float:
    """C_G = (1 + gamma L d k)/(cos 2 d psi - sin psi), d = K-1, k = cos 2 d psi + d tan psi sin 2 d psi (Theorem G)."""
    psi = _angle(K, gamma_L)
    d = K - 1
    cosine, sine = math.cos(2 * d * psi), math.sin(2 * d * psi)
    return (1 + gamma_L * d * (cosine + d * math.tan(psi) * sine)) / (cosine - math.sin(psi))


@checked
def theorem_g(A: float, L: float, K: int, gamma: float, T: int) -> float:
    """S_T <= C_G A/(gamma T), exact gradients, any gamma L < 2 sin(pi/(2(2K-1))), warm-up included (Theorem G)."""
    return theorem_g_constant(K, gamma * L) * A / (gamma * T)
