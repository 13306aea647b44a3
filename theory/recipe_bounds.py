"""The inequalities for what people run: momentum, weight decay, steps that change, reshuffled epochs, Adam.

Symbols as in `bounds.py`, and: beta the momentum, in heavy ball's form or Nesterov's; eta = gamma/(1-beta) the
effective step, which a gradient has got when its velocity has run out; S_T as there; z^t the coasted iterate, where the
weights end up if the data stop, the pipeline empties and the velocities run out. All but the last are proved in
PROOFS.md, sections 9 to 13.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq

from theory.problems import Array
from theory.symbols import checked

# --- momentum ----------------------------------------------------------------------------------------------


@checked
def age(beta: float, nesterov: bool) -> float:
    """How old a gradient is on average when it acts, without delay: beta/(1-beta), Nesterov beta^2/(1-beta)."""
    return (beta * beta if nesterov else beta) / (1 - beta)


@checked
def lag(K: int, beta: float, nesterov: bool) -> float:
    """D = K-1 + age: delay and momentum together, in iterations."""
    return K - 1 + age(beta, nesterov)


@checked
def noise_lag(K: int, beta: float, nesterov: bool) -> float:
    """rho^2 = K-1 + beta^2/(1-beta^2), Nesterov K-1 + beta^4/(1-beta^2): the sum of squares where D is the sum."""
    return K - 1 + (beta**4 if nesterov else beta**2) / (1 - beta * beta)


@checked
def coasted_distance(eta: float, M: float, K: int, beta: float, nesterov: bool) -> float:
    """||w^t - z^t|| <= eta D sqrt(M), every t and history, bounded gradients (Lemma Z)."""
    return eta * lag(K, beta, nesterov) * math.sqrt(M)


@checked
def momentum_lin(A: float, L: float, M: float, K: int, eta: float, T: int, beta: float, nesterov: bool) -> float:
    """S_T <= A/(eta T) + (D + 1/2) eta L M, any eta > 0 (Theorem M1, linear in D)."""
    return A / (eta * T) + (lag(K, beta, nesterov) + 0.5) * eta * L * M


@checked
def momentum_clean(A: float, L: float, M: float, K: int, eta: float, T: int, beta: float, nesterov: bool) -> float:
    """S_T + (1/T) sum E||grad f(z^t)||^2 <= 2A/(eta T) + eta L M (1 + eta L D^2) (Theorem M1, clean)."""
    return 2 * A / (eta * T) + eta * L * M * (1 + eta * L * lag(K, beta, nesterov) ** 2)


@checked
def momentum_sharp(A: float, L: float, M: float, K: int, eta: float, T: int, beta: float, nesterov: bool) -> float:
    """S_T <= (sqrt Q + sqrt(P+Q))^2, P = A/(eta T) + eta L M/2, Q = eta^2 L^2 D^2 M/4 (Theorem M1, sharp)."""
    P = A / (eta * T) + eta * L * M / 2
    Q = (eta * L * lag(K, beta, nesterov)) ** 2 * M / 4
    return (math.sqrt(Q) + math.sqrt(P + Q)) ** 2


@checked
def momentum_lin_best_step(A: float, L: float, M: float, K: int, T: int, beta: float, nesterov: bool) -> float:
    """eta = sqrt(A/(L M (D + 1/2) T)), where momentum_lin is smallest, 2 sqrt(A L M (D + 1/2)/T)."""
    if A == 0 or M == 0:
        raise ValueError(f"A, M: expected numbers > 0, got {A:g} and {M:g}; without them no step is best")
    return math.sqrt(A / (L * M * (lag(K, beta, nesterov) + 0.5) * T))


def _margin(eta: float, L: float, K: int) -> float:
    """c = 1 - eta L (K - 1/2), which Theorem M2 needs to be positive."""
    c = 1 - eta * L * (K - 0.5)
    if c <= 0:
        raise ValueError(f"eta: expected eta L < 2/(2K-1) = {2 / (2 * K - 1):g}, got {eta * L:g}; lower the step")
    return c


@checked
def momentum_d0(A: float, L: float, K: int, eta: float, T: int) -> float:
    """((1-beta)^2/T) sum ||Q^t||^2 <= A/(eta T (1 - eta L (K-1/2))) for exact gradients, Q^t the step's direction, any
    beta, either form, eta L < 2/(2K-1) (Theorem M2)."""
    return A / (eta * T * _margin(eta, L, K))


@checked
def heavy_ball_d0(A: float, L: float, K: int, eta: float, T: int, beta: float) -> float:
    """S_T <= (A/(eta T)) max{1/c, (1+beta)^2/((1-beta)(2 beta + (1-beta) c))}, c = 1 - eta L (K-1/2) > 0: exact
    gradients, heavy ball (Theorem M2)."""
    c = _margin(eta, L, K)
    return A / (eta * T) * max(1 / c, (1 + beta) ** 2 / ((1 - beta) * (2 * beta + (1 - beta) * c)))


@checked
def momentum_d(A: float, L: float, nu2: float, K: int, eta: float, T: int, beta: float, nesterov: bool) -> float:
    """((1-beta)^2/T) sum E||Q^t||^2 <= ((R + sqrt(R^2 + 4cP))/(2c))^2, c = 1 - eta L (K-1/2) > 0, P = A/(eta T) + eta L
    nu^2/2, R = eta L rho nu, Q^t the mean part of the step's direction (Theorem M2)."""
    c = _margin(eta, L, K)
    P = A / (eta * T) + eta * L * nu2 / 2
    R = eta * L * math.sqrt(noise_lag(K, beta, nesterov) * nu2)
    return ((R + math.sqrt(R * R + 4 * c * P)) / (2 * c)) ** 2


def _turn(b: float, phi: float) -> float:
    """arctan(tan(phi/2) (1+b)/(1-b)): the angle of (z-b)(z-1)/z beyond pi/2 is this, for b = beta and z = e^{i phi}."""
    return math.atan2((1 + b) * math.sin(phi / 2), (1 - b) * math.cos(phi / 2))


@checked
def momentum_threshold(K: int, beta: float, nesterov: bool) -> float:
    """g*(K, beta): DDG with exact gradients is stable on all quadratics with 0 < H <= L iff gamma L < g* (Theorem M3).

    gamma, not eta. Heavy ball: 2(1+beta) for K = 1, 1-beta for K = 2. At beta = 0 it is `bounds.quadratic_threshold`.
    """

    def beyond(phi: float) -> float:
        turn = _turn(beta, phi)
        if nesterov:
            turn += phi / 2 - _turn(beta / (1 + beta), phi)
        return (K - 1) * phi + turn - math.pi / 2

    phi = math.pi if K == 1 else float(brentq(beyond, 0.0, math.pi / (2 * K - 1) * (1 + 1e-12), xtol=1e-15, rtol=1e-14))
    s = math.sin(phi / 2)
    size = 2 * s * math.sqrt((1 - beta) ** 2 + 4 * beta * s * s)
    return size / math.sqrt(1 + 4 * beta * (1 + beta) * s * s) if nesterov else size


@checked
def two_modules(A: float, L: float, gamma: float, T: int, beta: float) -> float:
    """S_T <= 6A/(gamma T (1-r)), r = gamma L/(1-beta) < 1: exact gradients, K = 2, heavy ball (Theorem T2).

    gamma, not eta. For gamma L >= 1-beta no such bound holds, for no factor in place of 6 (Theorem M3).
    """
    r = gamma * L / (1 - beta)
    if r >= 1:
        raise ValueError(f"gamma: expected gamma L < 1 - beta = {1 - beta:g}, got {gamma * L:g}; lower the step")
    return 6 * A / (gamma * T * (1 - r))


# --- weight decay ------------------------------------------------------------------------------------------


@checked
def decay_limit(beta: float, nesterov: bool) -> float:
    """gamma lambda <= (1 - sqrt(beta))^2, Nesterov ((1-beta)/(1+beta))^2: what Theorem W asks of step and decay."""
    return ((1 - beta) / (1 + beta)) ** 2 if nesterov else (1 - math.sqrt(beta)) ** 2


@checked
def decayed_length(M: float, decay: float, w02: float) -> float:
    """lambda ||x^t|| <= max{lambda ||w^0||, sqrt(M)}, w02 = ||w^0||^2 (Theorem W)."""
    return max(decay * math.sqrt(w02), math.sqrt(M))


@checked
def decay_lin(
    A: float, L: float, M: float, K: int, eta: float, T: int, beta: float, nesterov: bool, decay: float, w02: float
) -> float:
    """(1/T) sum E||grad f(w^t) + lambda x^t||^2 <= A/(eta T) + eta M_lambda (L (D + 1/2) + lambda (1/2 + age)), with A
    of f + (lambda/2)||w||^2 and M_lambda = (sqrt(M) + decayed_length)^2 (Theorem W)."""
    both = (math.sqrt(M) + decayed_length(M, decay, w02)) ** 2
    return A / (eta * T) + eta * both * (L * (lag(K, beta, nesterov) + 0.5) + decay * (0.5 + age(beta, nesterov)))


@checked
def decay_d0(A: float, L: float, K: int, gamma: float, T: int, decay: float) -> float:
    """The same mean <= A/(gamma T c), c = 1 - gamma (L (K-1/2) + lambda/2) > 0: exact gradients, no momentum."""
    c = 1 - gamma * (L * (K - 0.5) + decay / 2)
    if c <= 0:
        raise ValueError(f"gamma: expected gamma (L (K-1/2) + decay/2) < 1, got {1 - c:g}; lower the step")
    return A / (gamma * T * c)


# --- steps that change -------------------------------------------------------------------------------------


def _tops(etas: Array, sums: Array, K: int, T: int) -> Array:
    """max of eta_t .. eta_{t+K-1} and of the heavy-ball sum at t, for t < T."""
    for name, steps in (("etas", etas), ("sums", sums)):
        if len(steps) < T + K - 1:
            raise ValueError(f"{name}: expected at least {T + K - 1} steps > 0, got {len(steps)}; extend the sequence")
    return np.array([max(*etas[t : t + K], sums[t]) for t in range(T)])


@checked
def steps_blockwise(
    A: float, L: float, M: float, K: int, etas: Array, sums: Array, T: int, beta: float, nesterov: bool
) -> float:
    """sum_t sum_k eta_{t+d_k} E||grad_k f(w^t)||^2 <= A + (D + 1/2) L M sum top_t^2, any steps, top_t the largest of
    eta_t .. eta_{t+K-1} and of sums_t = gamma_t + beta gamma_{t+1} + .. (Theorem S, S1)."""
    return float(A + (lag(K, beta, nesterov) + 0.5) * L * M * (_tops(etas, sums, K, T) ** 2).sum())


@checked
def steps_weighted(
    A: float, L: float, M: float, K: int, etas: Array, sums: Array, T: int, beta: float, nesterov: bool
) -> float:
    """sum_t eta_t E||grad f(w^t)||^2 <= (S1) + (K-1) M sum_j max(0, eta_j - eta_{j+1}), j < T+K-2 (Theorem S, S2)."""
    blockwise = steps_blockwise(A, L, M, K, etas, sums, T, beta, nesterov)
    falls = np.maximum(0.0, etas[: T + K - 2] - etas[1 : T + K - 1]).sum() if K > 1 else 0.0
    return blockwise + float((K - 1) * M * falls)


@checked
def steps_clean(
    A: float, L: float, M: float, K: int, etas: Array, sums: Array, T: int, beta: float, nesterov: bool
) -> float:
    """sum_t sum_k eta_{t+d_k} E(||grad_k f(w^t)||^2 + ||grad_k f(z^t)||^2) <= 2A + L M sum top_t^2 + L^2 D^2 M sum
    top_t^3 (Theorem S, S3)."""
    top, D = _tops(etas, sums, K, T), lag(K, beta, nesterov)
    return float(2 * A + L * M * (top**2).sum() + (L * D) ** 2 * M * (top**3).sum())


@checked
def steps_warm_up(A: float, L: float, M: float, K: int, etas: Array, T: int, beta: float) -> float:
    """sum_t eta_t E||grad f(w^t)||^2 <= A + (D + 1/2) L M (sum eta_t^2 + (K-1) top^2) + (K-1) M top, top the largest
    eta: steps that rise once and then fall, heavy ball (Theorem S, S4)."""
    if len(etas) < T + K - 1:
        raise ValueError(f"etas: expected at least {T + K - 1} steps > 0, got {len(etas)}; extend the sequence")
    top = float(etas[: T + K - 1].max())
    squares = float((etas[:T] ** 2).sum()) + (K - 1) * top**2
    return A + (lag(K, beta, False) + 0.5) * L * M * squares + (K - 1) * M * top


# --- sampling without replacement --------------------------------------------------------------------------


def _expect_epoch_step(eta: float, L: float, n: int, limit: float) -> None:
    if eta * L * n > limit + 1e-12:
        raise ValueError(f"eta: expected eta L n <= {limit:g}, got {eta * L * n:g}; lower the step")


@checked
def epoch_distance(eta: float, M: float, K: int, beta: float, t: int) -> float:
    """||w^{jn+t} - Z_j|| <= eta sqrt(M) max(t, D), t < n, every order and history, Z_j = z^{jn}, D = K-1 +
    beta/(1-beta) in either form (Lemma E)."""
    return eta * math.sqrt(M) * max(t, lag(K, beta, False))


@checked
def epoch_drift(L: float, M: float, K: int, eta: float, n: int, beta: float) -> float:
    """(eta L sqrt(M) (n + D^2/n)/2)^2: what delay, momentum and the order cost an epoch, at most (Theorem R1)."""
    return (eta * L * math.sqrt(M) * (n + lag(K, beta, False) ** 2 / n) / 2) ** 2


@checked
def any_order(A: float, L: float, M: float, K: int, eta: float, n: int, T: int, beta: float) -> float:
    """(1/m) sum_j ||grad f(Z_j)||^2 <= 2A/(eta T) + epoch_drift, T = mn, every order, eta L n <= 1, L of every f_i
    (Theorem R1)."""
    _expect_epoch_step(eta, L, n, 1.0)
    return 2 * A / (eta * T) + epoch_drift(L, M, K, eta, n, beta)


@checked
def any_order_weights(A: float, L: float, M: float, K: int, eta: float, n: int, T: int, beta: float) -> float:
    """sqrt((1/T) sum ||grad f(w^t)||^2) <= sqrt(any_order) + eta L sqrt(M) sqrt((1/n) sum_{i<n} max(i, D)^2). Returns
    the bound on the mean square (Theorem R1)."""
    D = lag(K, beta, False)
    below = min(n, math.floor(D) + 1)
    squares = below * D * D + sum(sign * (j - 1) * j * (2 * j - 1) / 6 for sign, j in ((1, n), (-1, below)))
    apart = eta * L * math.sqrt(M * squares / n)
    return (math.sqrt(any_order(A, L, M, K, eta, n, T, beta)) + apart) ** 2


@checked
def _shuffled_drift(L: float, M: float, nu2: float, K: int, eta: float, n: int, beta: float) -> float:
    D = lag(K, beta, False)
    return 2.5 * (eta * L) ** 2 * (nu2 * n * n / (n - 1) + 4 * M * (D * (D + 1) / n) ** 2)


@checked
def shuffled(A: float, L: float, M: float, nu2: float, K: int, eta: float, n: int, T: int, beta: float) -> float:
    """(1/m) sum_j E||grad f(Z_j)||^2 <= 4A/(eta T) + (5/2) eta^2 L^2 (nu^2 n^2/(n-1) + 4 M (D(D+1)/n)^2), n >= 2,
    random orders, eta L n <= 1/2 (Theorem R2)."""
    _expect_epoch_step(eta, L, n, 0.5)
    return 4 * A / (eta * T) + _shuffled_drift(L, M, nu2, K, eta, n, beta)


@checked
def shuffled_variance(A: float, L: float, nu2: float, K: int, gamma: float, n: int, T: int) -> float:
    """(1/m) sum_j E||grad f(Z_j)||^2 <= 3A/(gamma T) + 1.3 gamma^2 L^2 nu^2 n^2/(n-1), random orders, no momentum, no
    bounded gradients, K <= n, n >= 2, gamma L (n + K) <= 1/2 (Theorem R3: K is in the condition alone)."""
    if n < K or gamma * L * (n + K) > 0.5 + 1e-12:
        raise ValueError(
            f"gamma: expected K <= n, gamma L (n + K) <= 1/2, got K = {K}, n = {n}, {gamma * L * (n + K):g}; lower it"
        )
    return 3 * A / (gamma * T) + 1.3 * (gamma * L) ** 2 * nu2 * n * n / (n - 1)


@checked
def _transitions(M: float, K: int, etas: Array, beta: float, warm_up: int) -> float:
    """2 D M (eta_0 - eta_end) + eta_0 M warm_up: what drops and warm-up cost, etas the nominal steps by epoch."""
    return float(2 * lag(K, beta, False) * M * (etas[0] - etas[-1]) + etas[0] * M * warm_up)


@checked
def default_training(A: float, L: float, M: float, K: int, etas: Array, n: int, beta: float, warm_up: int) -> float:
    """sum_j eta_j n ||grad f(Z_j)||^2 <= 2A + sum_j eta_j n epoch_drift(eta_j) + 2 D M (eta_0 - eta_end) + eta_0 M
    warm_up, every order; nominal steps eta_0 >= .. >= eta_{m-1}, eta_m = eta_end, one per epoch, times a linear warm-up
    over that many iterations; eta_0 L n <= 1 (Theorem R4)."""
    _expect_epoch_step(float(etas[0]), L, n, 1.0)
    drift = sum(float(eta) * n * epoch_drift(L, M, K, float(eta), n, beta) for eta in etas[:-1])
    return 2 * A + drift + _transitions(M, K, etas, beta, warm_up)


@checked
def default_training_shuffled(
    A: float, L: float, M: float, nu2: float, K: int, etas: Array, n: int, beta: float, warm_up: int
) -> float:
    """The same sum in expectation over random orders <= 4A + sum_j eta_j n (shuffled's noise term at eta_j) + twice the
    transitions of `default_training`; n >= 2, eta_0 L n <= 1/2 (Theorem R4)."""
    _expect_epoch_step(float(etas[0]), L, n, 0.5)
    drift = sum(float(eta) * n * _shuffled_drift(L, M, nu2, K, float(eta), n, beta) for eta in etas[:-1])
    return 4 * A + drift + 2 * _transitions(M, K, etas, beta, warm_up)


# --- other optimizers --------------------------------------------------------------------------------------


@checked
def adam_move(beta1: float, beta2: float) -> float:
    """C: Adam's step never moves a weight by more than gamma C, whatever the gradients (Theorem A1); beta1^2 < beta2.

    The largest of C_n = (1-beta1)/(1-beta1^n) sqrt((1-beta2^n)/(1-beta2)) sqrt((1-q^n)/(1-q)), q = beta1^2/beta2, for n
    up to 20000, and what bounds it beyond.
    """
    q = beta1**2 / beta2 if beta2 > 0 else math.inf
    if q >= 1:
        raise ValueError(f"beta2: expected more than beta1^2 = {beta1**2:g}, got {beta2:g}; raise it")
    n = np.arange(1, 20001)
    ratios = (1 - beta1) / (1 - beta1**n) * np.sqrt((1 - beta2**n) / (1 - beta2) * (1 - q**n) / (1 - q))
    beyond = (1 - beta1) / (1 - beta1 ** n[-1]) / math.sqrt((1 - beta2) * (1 - q))
    return float(max(ratios.max(), beyond))


@checked
def adam_without_first_moment(
    A: float, L: float, G: float, K: int, gamma: float, T: int, d: int, beta2: float, eps: float
) -> float:
    """S_T <= 2 (G+eps) (A/(gamma T) + (d Lam/T)(G/sqrt(1-beta2) + (K-1/2) gamma L/(1-beta2))), Lam = ln(1 +
    G^2/((1-beta2) eps^2)) + T ln(1/beta2): Adam with beta1 = 0, d weights, |every coordinate of grad f_i| <= G
    (Theorem A3)."""
    if beta2 == 0:
        raise ValueError("beta2: expected a number in (0, 1), got 0; 0.999 is usual")
    Lam = math.log1p(G * G / ((1 - beta2) * eps * eps)) - T * math.log(beta2)
    inner = G / math.sqrt(1 - beta2) + (K - 0.5) * gamma * L / (1 - beta2)
    return 2 * (G + eps) * (A / (gamma * T) + d * Lam / T * inner)


# --- a conjecture, not proved ------------------------------------------------------------------------------


@checked
def conjectured_lin(A: float, L: float, M: float, K: int, gamma: float, T: int) -> float:
    """A/(gamma T) + gamma L M/g*(K), g*(K) = 2 sin(pi/(2(2K-1))): the smallest bound of this form that S_T could obey
    (PROOFS.md section 14). Not proved."""
    return A / (gamma * T) + gamma * L * M / (2 * math.sin(math.pi / (2 * (2 * K - 1))))
