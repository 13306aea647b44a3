"""What a gradient that comes late is corrected by: each row of the table of methods names one of these.

correction(optimizer, d) -> the optimizer of a module whose gradients come d updates late
"""

from collections.abc import Callable
from typing import TypeAlias

from ddg_ref.arrays import Array, Fused
from ddg_ref.errors import InputError
from ddg_ref.optimizers import SGD, Optimizer, decayed, moved_by

Correction: TypeAlias = Callable[[Optimizer, int], Optimizer]


def uncorrected(optimizer: Optimizer, d: int) -> Optimizer:
    """The gradient is applied as if it were new."""
    return optimizer


@Fused
def compensated_step(
    w: Array, g: Array, velocity: Array, gamma: float, decay: float, momentum: float, a: float, b: float
) -> tuple[Array, Array]:
    """SGD with momentum and spike compensation: new weights and velocity."""
    g = decayed(w, g, decay)
    velocity = momentum * velocity + g
    return moved_by(w, a * velocity + b * g, gamma), velocity


class SpikeCompensation(SGD):
    """v <- m v + g, w <- w - gamma (a v + b g), a = m^d, b = (1-m^d)/(1-m), m the momentum.

    By now a gradient that had come in time would have moved the weights by gamma (1 + m + ... + m^d) g, and go on with
    m^{d+1} g, ...: so does this one. What it missed, b g = (1 + ... + m^(d-1)) g, comes in its first step, the spike.
    With d = 1 this is Nesterov's form. Kosson et al., MLSys 2021, section 3.2.
    """

    def __init__(self, sgd: SGD, d: int) -> None:
        super().__init__(momentum=sgd.momentum, weight_decay=sgd.weight_decay)
        self.a, self.b = self.momentum**d, (1 - self.momentum**d) / (1 - self.momentum)

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        return compensated_step(w, g, moments[0], gamma, self.weight_decay, self.momentum, self.a, self.b)


def spike_compensation(optimizer: Optimizer, d: int) -> Optimizer:
    """The part of its sum that a late gradient has missed comes at once. Without delay, or momentum, nothing changes.

    Raises InputError unless it is SGD in the plain form.
    """
    if not isinstance(optimizer, SGD) or optimizer.nesterov:
        raise InputError(
            f"optimizer: expected sgd without nesterov for spike compensation, got {_name(optimizer)}; choose another, "
            "or method ddg"
        )
    return SpikeCompensation(optimizer, d) if d and optimizer.momentum else optimizer


class DampedNesterov(SGD):
    """Nesterov's form, with the step (1-m) gamma, m the momentum.

    u <- w + m (w - w_before) is where gradients are taken, and w <- u - gamma (1-m) g. As everywhere with this form,
    what training holds is u.
    """

    def __init__(self, sgd: SGD) -> None:
        super().__init__(momentum=sgd.momentum, nesterov=sgd.momentum > 0, weight_decay=sgd.weight_decay)

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        return super().step(w, g, moments, n, (1 - self.momentum) * gamma)


def asynchronous_nesterov(optimizer: Optimizer, d: int) -> Optimizer:
    """The same for every delay. Raises InputError unless it is SGD."""
    if not isinstance(optimizer, SGD):
        raise InputError(
            f"optimizer: expected sgd for the asynchronous Nesterov method, got {_name(optimizer)}; for its adaptive "
            "form take method ddg with optimizer nadam"
        )
    return DampedNesterov(optimizer)


def divided(gamma: float, d: int, t: int, period: float | None) -> float:
    """The step size of iteration t where gradients come d updates late: gamma / d^p, p = 1 - min(t/period, 1).

    Without a period, and for d <= 1, it is gamma. Yang et al., PipeMare, MLSys 2021.
    """
    return gamma if period is None or d <= 1 else gamma / float(d) ** (1 - min(t / period, 1))


def _name(optimizer: Optimizer) -> str:
    nesterov = isinstance(optimizer, SGD) and optimizer.nesterov
    return type(optimizer).__name__.lower() + (" with nesterov" if nesterov else "")
