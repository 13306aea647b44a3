"""A trainer that somebody else might have written: plain NumPy, weights (out, in), nothing of ddg_ref in its numbers.

It follows most rows of METHODS on an MLP, and does one thing wrong if it is told to. Its faults are written here anew,
not taken from the catalogue that is to recognise them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ddg_ref.conformance import Recorder, Trace
from ddg_ref.layers import Linear, ReLU, Tanh
from ddg_ref.optimizers import SGD, Adam

METHODS = ("bp", "ddg", "ddg-current", "fr", "fdg", "gpipe", "1f1b", "pipedream", "2bw", "paci")


@dataclass(frozen=True)
class Setting:
    """One training run. `fault` is (name, value, module or None, batch)."""

    method: str = "ddg"
    sizes: tuple[int, ...] = (4, 5, 5, 5, 3)
    act: str = "tanh"
    cuts: tuple[int, ...] = (1, 2)
    """Numbers of linear layers that begin a module."""
    T: int = 10
    N: int = 6
    M: int = 1
    optimizer: tuple[str, dict[str, Any]] = ("sgd", {"momentum": 0.9})
    steps: tuple[float, ...] = (0.1,)
    dtype: str = "float64"
    seed: int = 0
    shrink: float = 1.0
    fault: tuple[str, Any, int | None, int] = ("none", None, None, 0)
    told: bool = True
    """Whether the trace says how many micro-batches there are."""

    @property
    def K(self):  # noqa: N802
        return len(self.cuts) + 1


@dataclass
class Flight:
    """A batch, or part of one, on its way: each layer's weights, input and output."""

    weights: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)


class Trainer:
    def __init__(self, setting: Setting) -> None:
        self.s, rng = setting, np.random.default_rng(setting.seed)
        dtype = self.dtype = np.dtype(setting.dtype)
        self.weights = [
            [(rng.standard_normal((n_out, n_in)) * (1.5 / n_in) ** 0.5).astype(dtype),
             (0.1 * rng.standard_normal(n_out)).astype(dtype)]
            for n_in, n_out in zip(setting.sizes[:-1], setting.sizes[1:], strict=True)
        ]  # fmt: skip
        L, K = len(self.weights), setting.K
        bounds = [0, *setting.cuts, L]
        self.own = [list(range(bounds[k], bounds[k + 1])) for k in range(K)]  # the layers of module k, from 0
        self.moments = [{} for _ in range(L)]
        self.counts = [0] * K
        self.first = [[w.copy(), b.copy()] for w, b in self.weights]
        self.x = rng.standard_normal((setting.T, setting.N, setting.sizes[0])).astype(dtype)
        self.labels = rng.integers(setting.sizes[-1], size=(setting.T, setting.N))
        self.recorder = Recorder(
            [layer for i in range(L) for layer in self._layers(i)],
            self._named(range(L)),
            cuts=[2 * cut for cut in setting.cuts],
            optimizer=self._optimizer(),
            step_sizes=setting.steps,
            layout="out_in",
            micro_batches=setting.M if setting.told else None,
            shrink=setting.shrink if setting.shrink != 1 else None,
        )
        for x, labels in zip(self.x, self.labels, strict=True):
            self.recorder.batch(x, labels)
        self.pending: dict[Any, Any] = {}

    def _layers(self, i):
        linear = Linear(self.s.sizes[i], self.s.sizes[i + 1])
        last = i == len(self.weights) - 1
        return [linear] if last else [linear, Tanh() if self.s.act == "tanh" else ReLU()]

    def _named(self, layers):
        return {f"{2 * i}.{kind}": self.weights[i][j] for i in layers for j, kind in enumerate(("weight", "bias"))}

    def _optimizer(self):
        kind, options = self.s.optimizer
        return SGD(**options) if kind == "sgd" else Adam(**options)

    # forward and backward of one layer

    def _forward(self, layers, h, flight):
        for i in layers:
            w, b = self.weights[i]
            z = (w @ h.T).T + b
            last = i == len(self.weights) - 1
            y = z if last else np.tanh(z) if self.s.act == "tanh" else z * (z > 0)
            flight.weights.append((w, b))
            flight.inputs.append(h)
            flight.outputs.append(y)
            h = y
        return h

    def _backward(self, layers, dy, flight, current):
        """Gradients of these layers, and what goes on below."""
        grads = {}
        for i in reversed(layers):
            h, y = flight.inputs[i], flight.outputs[i]
            if i < len(self.weights) - 1:
                dy = dy * (1 - y**2) if self.s.act == "tanh" else np.where(y > 0, dy, 0)
            w = self.weights[i][0] if current else flight.weights[i][0]
            grads[i] = [np.einsum("no,ni->oi", dy, h), np.add.reduce(dy)]
            dy = dy @ w
        return dy, grads

    def _loss_gradient(self, y, labels, N):
        p = np.exp(y - y.max(1)[:, None])
        p /= p.sum(1)[:, None]
        p[np.arange(len(y)), labels] -= 1
        return p / self.dtype.type(N)

    # a run

    def train(self) -> Trace:
        if self.s.method == "paci":
            self._paci()
        else:
            self._by_batches()
        return self.recorder.trace()

    def _is(self, name, k=None, b=None):
        fault, _, module, batch = self.s.fault
        return fault == name and (k is None or module in (None, k)) and (b is None or batch == b)

    def _delays(self):
        K, M = self.s.K, self.s.M
        by_method = {
            "ddg": [K - k for k in range(1, K + 1)],
            "fdg": [2 * (K - k) for k in range(1, K + 1)],
            "2bw": [-(-(K - 1) // M)] * K,
        }
        by_method["ddg-current"] = by_method["fr"] = by_method["pipedream"] = by_method["ddg"]
        delays = by_method.get(self.s.method, [0] * K)
        if self._is("delay"):
            modules, by = self.s.fault[1]
            delays = [d + by if k in modules else d for k, d in enumerate(delays, 1)]
        return delays

    def _shares(self):
        N, M = self.s.N, min(self.s.M, self.s.N)
        cut = [N // M + (m < N % M) for m in range(M)]
        ends = np.cumsum(cut)
        slices = [slice(end - size, end) for end, size in zip(ends, cut, strict=True)]
        denominators = [M * size for size in cut] if self._is("parts alike") else [N] * M
        return slices, denominators

    def _by_batches(self):
        s, K, d = self.s, self.s.K, self._delays()
        slices, denominators = self._shares()
        flights, errors = {}, {}
        for t in range(s.T if self._is("no drain") else s.T + max(d)):
            if t < s.T:
                for m, part in enumerate(slices):
                    flight = flights[t, m] = Flight()
                    h = self._forward(range(len(self.weights)), self.x[t][part], flight)
                    errors[K, t, m] = self._loss_gradient(h, self.labels[t][part], denominators[m])
            for k in range(K, 0, -1):
                b, layers = t - d[k - 1], self.own[k - 1]
                if not 0 <= b < s.T:
                    self._idle(k, t, b)
                    continue
                total = None
                for m in range(len(slices)):
                    flight, dy = flights[t - d[k - 1], m], errors.pop((k, b, m))
                    current = s.method == "ddg-current" or self._is("current", k)
                    if s.method == "fr" and d[k - 1]:
                        again, h = Flight(), flight.inputs[layers[0]]
                        again.weights, again.inputs, again.outputs = ([None] * layers[0] for _ in range(3))
                        self._forward(layers, h, again)
                        flight = again
                    dy, grads = self._backward(layers, dy, flight, current)
                    errors[k - 1, b, m] = dy * self.dtype.type(s.shrink) if s.shrink != 1 else dy
                    total = self._plus(total, grads)
                self._arrived(k, t, b, total)

    def _paci(self):
        s, K, M = self.s, self.s.K, self.s.M
        slices, denominators = self._shares()
        flights, errors, sums = {}, {}, [None] * K
        for n in range(s.T * M + (0 if self._is("no drain") else K - 1 + M)):
            t, m = divmod(n, M)
            if t < s.T:
                flight = flights[n] = Flight()
                h = self._forward(range(len(self.weights)), self.x[t][slices[m]], flight)
                errors[K, n] = self._loss_gradient(h, self.labels[t][slices[m]], denominators[m])
            for k in range(K, 0, -1):
                back = n - (K - k)
                if not 0 <= back < s.T * M:
                    continue
                dy, grads = self._backward(self.own[k - 1], errors.pop((k, back)), flights[back], True)
                errors[k - 1, back] = dy
                sums[k - 1] = self._plus(sums[k - 1], grads)
                if back % M == M - 1:
                    total, sums[k - 1] = sums[k - 1], None
                    self._arrived(k, t, back // M, total)

    @staticmethod
    def _plus(total, grads):
        if total is None:
            return grads
        return {i: [a + b for a, b in zip(total[i], grads[i], strict=True)] for i in grads}

    # what is done with a gradient

    def _arrived(self, k, t, b, grads):
        factor = {"sum of samples": self.s.N, "sum of parts": min(self.s.M, self.s.N)}.get(self.s.fault[0], 1)
        if self._is("divided twice"):
            factor = 1 / min(self.s.M, self.s.N)
        if self._is("doubled", k, b):
            factor *= 2
        if self._is("zeroed", k, b):
            factor = 0
        scaled = {i: [g * self.dtype.type(factor) for g in pair] for i, pair in grads.items()}
        if self._is("dropped", k, b):
            return
        if self._is("swapped", k, b):
            self.pending[k] = scaled
            return
        if self._is("repeated", k, b) and b > 0:
            scaled = self.pending["last", k]
        self._update(k, t, b, scaled)
        if self._is("twice", k, b):
            self._update(k, t, b, scaled)
        if k in self.pending:
            self._update(k, t, b, self.pending.pop(k))
        self.pending["last", k] = scaled

    def _idle(self, k, t, b):
        if (b < 0 and self._is("zero warm-up")) or (b >= self.s.T and self._is("zero drain")):
            self._update(k, t, 0, {i: [np.zeros_like(a) for a in self.weights[i]] for i in self.own[k - 1]})
        elif b < 0 and self._is("wrong warm-up"):
            kept, self.weights = self.weights, [list(pair) for pair in self.first]
            flight = Flight()
            layers = list(range(len(self.weights)))
            h = self._forward(layers, self.x[0], flight)
            _, grads = self._backward(layers, self._loss_gradient(h, self.labels[0], self.s.N), flight, False)
            self.weights = kept
            self._update(k, t, 0, {i: grads[i] for i in self.own[k - 1]})

    def _update(self, k, t, b, grads):
        clock = {"own clock": b, "clock +1": t + 1, "clock -1": max(0, t - 1)}.get(self.s.fault[0], t)
        gamma = self.s.steps[min(clock, len(self.s.steps) - 1)]
        self.counts[k - 1] += 1
        n = t + 1 if self._is("counted iterations") else self.counts[k - 1]
        for i in self.own[k - 1]:
            self.weights[i] = [self._stepped(i, j, w, g, gamma, n)
                               for j, (w, g) in enumerate(zip(self.weights[i], grads[i], strict=True))]  # fmt: skip
        self.recorder.update(self._named(self.own[k - 1]))

    def _stepped(self, i, j, w, g, gamma, n):
        kind, options = self.s.optimizer
        decay, moments = options.get("weight_decay", 0), self.moments[i]
        if decay and self.s.fault[0] not in ("no decay", "decoupled"):
            g = g + w * decay
        if kind == "adam":
            b1, b2 = options.get("beta1", 0.9), options.get("beta2", 0.999)
            m = moments[j, "m"] = moments.get((j, "m"), 0 * w) * b1 + g * (1 - b1)
            v = moments[j, "v"] = moments.get((j, "v"), 0 * w) * b2 + g**2 * (1 - b2)
            step = gamma * ((m / (1 - b1**n)) / (np.sqrt(v / (1 - b2**n)) + 1e-8))
        else:
            momentum = 0 if self._is("no momentum") else options.get("momentum", 0.9)
            if self._is("step inside"):
                step = moments[j, "v"] = moments.get((j, "v"), 0 * w) * momentum + gamma * g
            else:
                v = moments[j, "v"] = moments.get((j, "v"), 0 * w) * momentum + g
                step = gamma * (g + momentum * v if options.get("nesterov") and momentum else v)
        moved = w - step
        if decay and self._is("decoupled"):
            moved = moved - gamma * decay * w
        return moved.astype(self.dtype)
