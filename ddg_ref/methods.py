"""The methods: what module k of K does is read off a row of this table.

A row names a schedule: which batch module k runs forward and which backward, and when. The other fields say with which
weights it runs backward, what it keeps until then, and what the error gradient is multiplied by. No engine asks for a
method by its name. `d` is the delay that follows from the schedule, in iterations; `k = 1` is nearest the input.

Where a row is called exact, what module k applies is the gradient of the loss of one batch with respect to its weights,
at weights that the network has really had. `w(t)` are the weights of all modules before their iteration t.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from ddg_ref import versions
from ddg_ref.corrections import Correction, asynchronous_nesterov, spike_compensation, uncorrected
from ddg_ref.schedules import (
    Program,
    Schedule,
    flush,
    guessing,
    one_each,
    one_forward_one_backward,
    one_late_per_boundary,
    one_late_per_micro_batch,
    two_buffers,
    two_late_per_boundary,
)

ForwardWeights: TypeAlias = Literal["newest", "predicted"]
Weights: TypeAlias = Literal["forward", "current"]
Stored: TypeAlias = Literal["caches", "inputs"]


@dataclass(frozen=True)
class Method:
    """One way of training a network that is cut into modules."""

    name: str
    title: str
    schedule: Schedule
    forward: ForwardWeights = "newest"
    """What a batch goes forward with: the weights of the moment, or those that are expected by the time its gradient is
    applied (`Optimizer.ahead`)."""
    weights: Weights = "forward"
    """Those that the forward pass of the batch used, which are kept; or those of the moment."""
    stored: Stored = "caches"
    """What waits for the backward pass: all that it needs, or the module's input, from which that is computed again."""
    correction: Correction = uncorrected
    """What the optimizer makes of a gradient that comes late."""
    programs: Sequence[Program] = field(default=(), compare=False)
    """What each worker does with its modules, if the schedule gives it several; else each module has a worker."""
    options: tuple[str, ...] = ()
    """Which of the numbers below a run may choose."""
    micro_batches: int = 1
    """Into how many parts a batch is split."""
    shrink: float = 1.0
    """What the error gradient is multiplied by at each boundary."""
    delay_scaling: float | None = None
    """Iterations over which the step size, divided by the delay at first, becomes whole; None: whole from the start."""
    synthesizer_width: int | None = None
    """Hidden units or channels of a synthesizer; None: as many as the module's output has, 256 or 16 at least."""
    synthesizer_lr: float = 3e-3
    """Its step size."""
    synthesizer_labels: bool = False
    """Whether it is told the labels."""

    def delay(self, k: int, K: int) -> int:
        """How many iterations pass in module k between a batch's forward and its backward pass."""
        return versions.delay(self.schedule, k, K, self.micro_batches)

    def lag(self, k: int, K: int) -> int:
        """How many pass until it is done with the batch: more than the delay if it learns or updates later."""
        return versions.lag(self.schedule, k, K, self.micro_batches)

    def staleness(self, k: int, K: int) -> int:
        """How many updates old the weights of its forward pass are when a batch's gradient is applied."""
        return versions.staleness(self.schedule, k, K, self.micro_batches)

    def workers(self, K: int) -> Sequence[Program]:
        """What each worker does."""
        return self.programs or one_each(self.schedule, K, self.micro_batches)

    @cached_property
    def guesses(self) -> bool:
        """Whether modules with another one above run backward on guesses."""
        return any(action.kind == "G" for action in self.schedule(1, 2, 0, self.micro_batches))


METHODS = {
    method.name: method
    for method in (
        # Backpropagation. The error gradient crosses all modules within the iteration: they run backward one after the
        # other. w_k(t+1) = w_k(t) - gamma grad_k f_t(w(t)). In flight: one batch's caches. Exact: the plain gradient.
        Method("bp", "backpropagation", flush),
        # Each module runs backward on the newest error gradient that has reached it, one iteration older per boundary,
        # with the weights its forward pass used. w_k(t+1) = w_k(t) - gamma grad_k f_{t-d}(w(t-d)), d = K-k. In flight:
        # d+1 batches' caches and weights. Exact, at w(t-d). Huo, Gu, Yang, Huang, ICML 2018, Algorithm 1.
        Method("ddg", "decoupled delayed gradients", one_late_per_boundary, options=("delay_scaling",)),
        # The same delays and caches, but the error gradient passes through the weights of the moment, as in code whose
        # optimizer writes in place (the program published with the paper). In flight: as ddg; the old weights are kept
        # only so that a checkpoint can compute the caches again. Not exact: activations of w(t-d) are multiplied by
        # weights of w(t), which is the gradient of nothing.
        Method(
            "ddg-current",
            "delayed gradients, current weights",
            one_late_per_boundary,
            weights="current",
            options=("delay_scaling",),
        ),
        # The same delays; module k keeps only the batch's input h and replays it: the gradient is that of
        # <error gradient, module k(h; w_k)> at w_k(t). In flight: d+1 inputs, one batch's caches, no old weights. Exact
        # within the module, at its present weights, for an input and an error gradient that other weights have made.
        # Module K has no delay and replays nothing. Running statistics count the first pass alone.
        # Huo, Gu, Huang, NeurIPS 2018, Algorithm 1.
        Method(
            "fr",
            "features replay",
            one_late_per_boundary,
            weights="current",
            stored="inputs",
            options=("delay_scaling",),
        ),
        # DDG whose forward is decoupled too: every message has an iteration's time to cross a boundary, in either
        # direction. An activation that is used one tick after it was given is used in the same iteration of a module
        # whose clock runs one tick later. So the lag k-1 of the forward pass shows nowhere: counted by each module's
        # own iterations, which is what t means here, it is DDG with error gradients that take two iterations per
        # boundary. w_k(t+1) = w_k(t) - gamma grad_k f_{t-d}(w(t-d)), d = 2(K-k). In flight: d+1 batches' caches and
        # weights. Exact, at w(t-d), if shrink = 1; else times shrink^(K-k).
        # Zhuang, Wang, Liu, Lin, IEEE TNNLS 33(10), 2022 (arXiv 1906.09108).
        Method(
            "fdg",
            "fully decoupled, delayed gradients",
            two_late_per_boundary,
            options=("shrink", "delay_scaling"),
        ),
        # Backpropagation that splits a batch of N samples into M parts: module k+1 works on one while module k works on
        # the next. All go forward, then all go back; their gradients add up, each with the weight of its samples, to
        # one update. In flight: one batch's caches. Exact: the plain gradient, up to rounding, unless batch norm takes
        # its means over a part. Huang et al., NeurIPS 2019.
        Method(
            "gpipe",
            "pipelined micro-batches",
            flush,
            micro_batches=4,
            options=("micro_batches",),
        ),
        # The same batches, split alike, and the same gradient. Each module runs backward on a part as soon as it can:
        # in flight are K-k+1 parts in place of M. Module K does so before it has seen the next one, so each
        # part's loss is taken by itself. Narayanan et al., SOSP 2019 and SC 2021.
        Method(
            "1f1b",
            "one forward, one backward, with a flush",
            one_forward_one_backward,
            micro_batches=4,
            options=("micro_batches",),
        ),
        # Weight stashing: stage k starts K-k+1 batches, then goes one forward, one back, each with the weights of its
        # forward pass. That is the same weights at every moment as ddg, bit for bit; only the name differs.
        # Narayanan et al., SOSP 2019.
        Method("pipedream", "pipelined batches, weight stashing", one_late_per_boundary, options=("delay_scaling",)),
        # One forward, one backward on micro-batches, without a flush; all modules update once per batch, when the last
        # gradient of it has reached all: with M >= K-1 after the forward passes of the next one. So that one goes
        # forward with weights that are one update old, in every module alike: w(t+1) = w(t) - gamma grad f_t(w(t-1)),
        # K > 1. In flight: K-k+1 micro-batches, two versions of the weights. Exact, at w(t-1).
        # Narayanan et al., ICML 2021.
        Method(
            "2bw",
            "two weight buffers",
            two_buffers,
            micro_batches=4,
            options=("micro_batches", "delay_scaling"),
        ),
        # The same without the wait: each module updates as soon as it has the last gradient, and goes back with the
        # weights of the moment. So at most ceil((K-k)/M) updates lie between a micro-batch's forward and its backward
        # pass, and nothing is kept but caches (and weights, for checkpoints alone). Not exact, but for module K, where
        # nothing lies between; the fewer updates, the nearer. PACI, arXiv 2606.07881.
        Method(
            "paci",
            "accumulated gradients, current weights",
            one_late_per_micro_batch,
            weights="current",
            micro_batches=4,
            options=("micro_batches", "delay_scaling"),
        ),
        # DDG that goes forward and back with the weights that it expects to have when the gradient is applied: where
        # the optimizer's moments alone lead in d updates, for SGD w - gamma (m + ... + m^d) v. Module k applies
        # grad_k f_{t-d}(p(t-d)), p(s) what w(s) was expected to become, d = K-k. In flight: as ddg, though all the
        # weights are copies. Exact, at p(t-d), which the network never had. Chen, Yang, Cheng, 2018 (SpecTrain, arXiv
        # 1809.02839); Guan et al., 2023 (PipeOptim, arXiv 2312.00839) for every optimizer. They go d times the step of
        # the moment; that the velocity decays on the way is FTPipe's (Eliad et al., USENIX ATC 2021).
        Method(
            "spectrain",
            "delayed gradients, predicted weights",
            one_late_per_boundary,
            forward="predicted",
            options=("delay_scaling",),
        ),
        # DDG whose momentum makes up for the delay: the step is along m^d v + (1-m^d)/(1-m) g, d = K-k, v the velocity
        # with the gradient g in it (`SpikeCompensation`). In flight and exact: as ddg. SGD only. Kosson, Chiley,
        # Venigalla, Hestness, Koster, MLSys 2021.
        Method(
            "spike",
            "delayed gradients, spike compensation",
            one_late_per_boundary,
            correction=spike_compensation,
            options=("delay_scaling",),
        ),
        # DDG with Nesterov's form of momentum, and a step times 1-m: w(t+1) = w(t) + a(t) - gamma (1-m) grad_k
        # f_{t-d}(w(t-d) + a(t-d)), a(t) = m (w(t) - w(t-1)). What a module holds is w + a. In flight and exact: as ddg.
        # SGD only; the authors train with its adaptive form, which is ddg with NAdam. Ajanthan, Ramasinghe, Zuo,
        # Avraham, Long, ICML 2025 (arXiv 2505.01099).
        Method(
            "async-nesterov",
            "delayed gradients, asynchronous Nesterov",
            one_late_per_boundary,
            correction=asynchronous_nesterov,
            options=("delay_scaling",),
        ),
        # Module k < K does not wait for any error gradient: a small network guesses it from the module's output. The
        # error gradient that module k+1 passes down an iteration later, itself made from a guess, is what the
        # synthesizer learns from. In flight: one batch's caches, two outputs. Nothing is exact but in module K.
        # Jaderberg et al., ICML 2017.
        Method(
            "dni",
            "decoupled neural interfaces",
            guessing,
            options=("synthesizer_width", "synthesizer_lr", "synthesizer_labels"),
        ),
    )
}

METHOD_OPTIONS = (
    *("shrink", "micro_batches", "delay_scaling"),
    *("synthesizer_width", "synthesizer_lr", "synthesizer_labels"),
)
"""All that the rows leave to a run."""
