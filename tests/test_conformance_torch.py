"""Trainers in PyTorch, as people write them, are told apart. Skipped where PyTorch is not installed."""

import re
import subprocess
import sys
from collections import deque
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ddg_ref.conformance import Recorder, identify, read
from ddg_ref.layers import Linear, Tanh
from ddg_ref.optimizers import SGD

torch = pytest.importorskip("torch")
nn = torch.nn

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "conformance.md").read_text()
CUTS, T, N = (2, 4), 12, 6
GAMMA = 0.1


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)


def batches(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(N, 4, generator=generator, dtype=dtype), torch.randint(3, (N,), generator=generator))
        for _ in range(T)
    ]


def weights_of(net):
    return {name: w.detach() for name, w in net.named_parameters()}


def recorder_of(net, cuts=CUTS, momentum=0.0, micro_batches=None):
    return Recorder(
        [Linear(4, 6), Tanh(), Linear(6, 6), Tanh(), Linear(6, 3)],
        weights_of(net),
        cuts=cuts,
        optimizer=SGD(momentum=momentum),
        step_sizes=[GAMMA],
        layout="out_in",
        micro_batches=micro_batches,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_plain_loop_is_backpropagation(dtype):
    net = network(dtype)
    optimizer, recorder = torch.optim.SGD(net.parameters(), lr=GAMMA, momentum=0.9), recorder_of(net, momentum=0.9)
    for x, labels in batches(dtype):
        recorder.batch(x, labels)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
        recorder.update(weights_of(net))
    assert "bp" in identify(recorder.trace()).methods


def delayed(net, recorder, forward, update):
    """Module k, counted from 0, runs backward on the error gradient that has reached it: K-1-k iterations late."""
    K = len(CUTS) + 1
    flights, errors = [deque() for _ in range(K)], [deque() for _ in range(K)]
    data = batches()
    for t in range(T + K - 1):
        if t < T:
            h, labels = data[t]
            recorder.batch(h, labels)
            for k in range(K):
                x = h.detach().requires_grad_()
                h, used = forward(k, x)
                flights[k].append((x, h, used))
            y = h.detach().requires_grad_()
            nn.functional.cross_entropy(y, labels).backward()
            errors[K - 1].append(y.grad)
        for k in reversed(range(K)):
            if 0 <= t - (K - 1 - k) < T:
                x, h, used = flights[k].popleft()
                dx, *grads = torch.autograd.grad(h, [x, *used], errors[k].popleft())
                if k > 0:
                    errors[k - 1].append(dx)
                update(k, grads)
    return recorder.trace()


def modules_of(net):
    bounds = [0, *CUTS, len(net)]
    return [net[start:stop] for start, stop in pairwise(bounds)]


def written_into(net, subtract):
    """A trainer whose update writes into the weights."""
    modules, recorder = modules_of(net), recorder_of(net)

    def forward(k, x):
        return modules[k](x), list(modules[k].parameters())

    def update(k, grads):
        own = list(modules[k].parameters())
        for w, g in zip(own, grads, strict=True):
            subtract(w, GAMMA * g)
        ours = {id(w) for w in own}
        recorder.update({name: w.detach() for name, w in net.named_parameters() if id(w) in ours})

    return delayed(net, recorder, forward, update)


def test_updates_through_data_go_back_with_current_weights():
    """Nothing warns: autograd does not see what is written through `.data`."""
    verdict = identify(written_into(network(), lambda w, step: w.data.sub_(step)))
    assert "ddg-current" in verdict.methods
    assert "ddg" not in verdict.methods


def test_updates_in_place_that_autograd_sees_cannot_go_back():
    def subtract(w, step):
        with torch.no_grad():
            w.sub_(step)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        written_into(network(), subtract)


def test_functional_weights_are_ddg():
    net = network()
    modules, recorder = modules_of(net), recorder_of(net)
    now = [{name: w.detach().requires_grad_() for name, w in m.named_parameters()} for m in modules]

    def forward(k, x):
        return torch.func.functional_call(modules[k], now[k], (x,)), list(now[k].values())

    def update(k, grads):
        moved = zip(now[k].items(), grads, strict=True)
        now[k] = {name: (w - GAMMA * g).detach().requires_grad_() for (name, w), g in moved}
        recorder.update({name: w.detach() for name, w in now[k].items()})

    verdict = identify(delayed(net, recorder, forward, update))
    assert verdict.methods == {"ddg", "pipedream"}


@pytest.mark.parametrize("schedule", ["GPipe", "1F1B"])
def test_pipelining_of_pytorch_on_two_processes(schedule, tmp_path):
    """Each process is a stage, and writes down its own weights; the trace is put together afterwards."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.torch_pipeline", schedule, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    net, M = network(), 3
    recorder = recorder_of(net, cuts=(2,), micro_batches=M)
    for x, labels in batches():
        recorder.batch(x, labels)
    for rank in range(2):
        with np.load(tmp_path / f"{rank}.npz") as weights:
            for t in range(T):
                recorder.update({name: stack[t] for name, stack in weights.items()})
    verdict = identify(recorder.trace())
    assert {"gpipe", "1f1b", "bp"} <= verdict.methods


def test_the_page_shows_a_loop_that_runs(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code[0], "conformance.md", "exec"), {})
    assert "bp" in identify(read("trace.safetensors")).methods
