"""`python -m benchmarks.gpu --out DIR`: everything that needs a GPU, the most telling first; `make gpu-check`.

Needs NumPy and CuPy; PyTorch, pytest and Hypothesis where they are there. Each step is written down as it ends, in
gpu.json and gpu.md, and one that fails is written down with what it said while the next goes on:

1. versions, and one call of each kind;
2. float64 on the GPU against the CPU, for each array;
3. threads against the reference on one thread: the same bits?
4. how long a kernel of each class takes, by CUDA's events;
5. for each module how long it takes to ask for its work, to wait for its turn to ask, and to be done, with the wall's
   time beside it: bp, ddg with K = 2 and K = 4;
6. PyTorch eager beside it, in float32 and in TF32;
7. what an iteration asks of the GPU, by PyTorch's profiler;
8. the tests that run on devices.
"""

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from importlib.util import find_spec
from io import BufferedReader
from pathlib import Path
from statistics import median
from threading import Event, Timer
from time import perf_counter
from traceback import format_exc
from typing import Any

import numpy as np

from benchmarks.bare import MISSING
from benchmarks.contenders import Work, mlp, resnet
from benchmarks.timing import Contender, ratio, take_turns
from ddg_ref.arrays import Params, column_dots, column_sums, cupy, hosted, to_host
from ddg_ref.errors import InputError
from ddg_ref.gpu.cuda import Cuda, check_gpu
from ddg_ref.gpu.kernels import ELEMENTWISE
from ddg_ref.layers import Conv2d, ReLU
from ddg_ref.layers.conv import gathered
from ddg_ref.layers.norm import input_gradient, scale_and_shift
from ddg_ref.optimizers import momentum_step
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.training import Training
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import write_json, write_text

ROOT = Path(__file__).parents[1]
TESTS_SECONDS = 240
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpy", "cuStreamSynchronize")
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx")
CLOSE = 1e-9
"""A larger difference between float64 there and here, relative to an array's largest value, is no rounding."""
METHODS = ("bp", "ddg", "fr", "gpipe", "dni")
WAYS = (("bp", 1), ("ddg", 2), ("ddg", 4))

Step = tuple[str, Callable[[], Any]]
"""Name, and what finds something out, or raises."""


def works() -> list[Work]:
    return [mlp(4096, 1024, iterations=20), resnet(20, 128, iterations=20)]


def on_gpu(work: Work) -> Work:
    return replace(work, config=replace(work.config, device="cuda:0"))


def shorter(work: Work, iterations: int) -> Work:
    return replace(work, iterations=iterations)


# 1. Versions, and one call of each kind


def versions() -> dict[str, Any]:
    """What is here."""
    xp = cupy()
    found = {
        "gpu": xp.cuda.runtime.getDeviceProperties(0)["name"].decode(),
        "gpus": xp.cuda.runtime.getDeviceCount(),
        "cupy": xp.__version__,
        "cuda": xp.cuda.runtime.runtimeGetVersion(),
        "missing": MISSING + [name for name in ("torch", "pytest", "hypothesis") if not find_spec(name)],
        "environment": environment(),
    }
    if find_spec("torch"):
        import torch

        found["torch"] = torch.__version__
    return found


def calls() -> dict[str, Any]:
    """One call of each kind: "ok", or what it said."""
    device = Cuda(0)

    def kernel(texts: tuple[str, str, str]) -> Any:
        arrays = [device.place(np.ones(4, np.float32)) for _ in texts[0].split(",")]
        return cupy().ElementwiseKernel(*texts, "one_call")(*arrays)

    def passed_on() -> Any:
        other = Cuda(0)
        message = device.hand_over(device.place(np.ones(3)))
        with other.opened():
            return to_host(other.receive(message))

    def convolution() -> Any:
        layer = Conv2d(2, 3, 3, padding=1)
        params = device.place_all(layer.init(np.random.default_rng(0)))
        y, cache = layer.forward(params, device.place(np.ones((2, 4, 4, 2), np.float32)))
        return layer.backward(params, cache, y)

    def product() -> Any:
        x = device.place(np.ones((4, 4), np.float32))
        return to_host(x @ x)

    kinds: dict[str, Callable[[], Any]] = {
        "to the GPU and back": lambda: to_host(device.place(np.ones(3))),
        "a product": product,
        "sums over rows": lambda: to_host(column_sums(device.place(np.ones((64, 3))))),
        "sums of products": lambda: to_host(column_dots(*[device.place(np.ones((64, 3)))] * 2)),
        "a convolution": convolution,
        "from stream to stream": passed_on,
        **{formula.formula.__name__: lambda texts=texts: kernel(texts) for formula, texts in ELEMENTWISE.items()},
    }
    found = {}
    with device.opened():
        for name, call in kinds.items():
            found[name] = outcome(call)
    return found


def outcome(call: Callable[[], Any]) -> str:
    """ "ok", or in one line what went wrong."""
    try:
        call()
        cupy().cuda.get_current_stream().synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


# 2. and 3. What comes out


def small(model: str, **options: Any) -> Training:
    """A training of six iterations on noise."""
    shape = {"mlp": {"width": 16, "depth": 6}, "cnn": {"width": 4, "depth": 4}, "resnet": {"width": 4, "depth": 20}}
    work = resnet(20, 8) if model != "mlp" else mlp(16, 8)
    config = replace(
        work.config, model=model, momentum=0.9, split="count", iterations=6, epochs=None, **shape[model] | options
    )
    return Training(config, work.data())


def trained(training: Training) -> Params:
    """Weights and statistics after it."""
    ENGINES[training.config.engine](training.pipeline, training.task, 0, 6)
    return hosted(training.pipeline.params | training.pipeline.stats)


def differences(model: str) -> dict[str, float]:
    """float64 on the GPU against the CPU: the largest difference of each array, relative to its largest value.

    Raises ArithmeticError if one is more than rounding.
    """
    there, here = (trained(small(model, method="ddg", modules=2, dtype="float64", device=d)) for d in ("cuda:0", "cpu"))
    found = {name: float(abs(there[name] - x).max() / max(abs(x).max(), 1e-300)) for name, x in here.items()}
    worst = max(found, key=lambda name: found[name])
    if not found[worst] < CLOSE:
        raise ArithmeticError(f"{worst}: a difference of {found[worst]:.2g}, more than {CLOSE:g}; all: {found}")
    return found


def bits(model: str) -> dict[str, str]:
    """Threads against the reference: "same" for each method. Raises ArithmeticError where the bits differ."""
    found = {}
    for method in METHODS:
        ways: dict[str, Any] = {"method": method, "modules": 1 if method == "bp" else 3, "device": "cuda:0"}
        expected = trained(small(model, engine="reference", **ways))
        differing = {
            name
            for _ in range(3)
            for name, x in trained(small(model, engine="threads", **ways)).items()
            if x.tobytes() != expected[name].tobytes()
        }
        found[method] = f"differ: {sorted(differing)}" if differing else "same"
    if set(found.values()) != {"same"}:
        raise ArithmeticError(str(found))
    return found


# 4. Kernels


def kernel_times(repetitions: int, images: int = 128) -> dict[str, Any]:
    """Microseconds of a call of each class, for the first and the last stage of ResNet-20, and its bytes per second."""
    device, found = Cuda(0), {}
    for size, channels in ((32, 16), (8, 64)):
        rng = np.random.default_rng(0)
        with device.opened():
            x, v = (
                device.place(rng.standard_normal(shape, dtype=np.float32))
                for shape in ((images, size, size, channels), (channels,))
            )
            rows = device.place(rng.standard_normal((images * size * size, 9 * channels), dtype=np.float32))
            w = device.place(rng.standard_normal((9 * channels, channels), dtype=np.float32))
            extent = (-1, size + 1)
            moved: dict[str, tuple[Callable[[], Any], float]] = {
                "product": (lambda rows=rows, w=w: rows @ w, rows.nbytes + x.nbytes),
                "product, weights": (lambda rows=rows, x=x: rows.T @ x.reshape(len(rows), -1), rows.nbytes + x.nbytes),
                "gathering": (
                    lambda x=x, e=extent: list(gathered(x, e, e, (3, 3), (1, 1))),
                    x.nbytes + rows.nbytes,
                ),
                "sums": (lambda x=x: column_sums(x), x.nbytes),
                "sums of products": (lambda x=x: column_dots(x, x), 2 * x.nbytes),
                "scale and shift": (lambda x=x, v=v: scale_and_shift(x, v, v), 2 * x.nbytes),
                "gradient of the norm": (lambda x=x, v=v: input_gradient(x, x, v, v, v), 3 * x.nbytes),
                "ReLU": (lambda x=x: ReLU().forward({}, x), 2 * x.nbytes),
                "addition": (lambda x=x: x + x, 3 * x.nbytes),
                "optimizer": (lambda w=w: momentum_step(w, w, w, 0.1, 0.0, 0.9), 5 * w.nbytes),
            }
            for name, (call, count) in moved.items():
                seconds = event_seconds(call, repetitions)
                found[f"{name}, {size} x {size} x {channels}"] = {
                    "microseconds": 1e6 * seconds,
                    "GB per second": count / seconds / 1e9,
                }
    return found


def event_seconds(call: Callable[[], Any], repetitions: int, calls: int = 20) -> float:
    """Of one call among many in the current stream, the median over repetitions, by the GPU's own clock."""
    cuda = cupy().cuda
    stream, taken = cuda.get_current_stream(), []
    for _ in range(repetitions + 1):
        before, after = cuda.Event(), cuda.Event()
        stream.record(before)
        for _ in range(calls):
            call()
        stream.record(after)
        after.synchronize()
        taken.append(cuda.get_elapsed_time(before, after) / 1000 / calls)
    return median(taken[1:])


# 5. Modules


@dataclass
class Meter:
    """What one module's launching takes: seconds in which it waited for its turn, and in which it asked for work, and
    the events before and after each time."""

    device: Any
    lock: AbstractContextManager[Any]
    waited: float = 0.0
    asked: float = 0.0
    marks: list[tuple[Any, Any]] = field(default_factory=list)

    @contextmanager
    def launching(self) -> Iterator[None]:
        cuda, begun = cupy().cuda, perf_counter()
        stream = cuda.get_current_stream()
        with self.lock:
            turn = perf_counter()
            before = stream.record(cuda.Event())
            yield
            after = stream.record(cuda.Event())
            self.marks.append((before, after))
            self.asked += perf_counter() - turn
        self.waited += turn - begun

    def busy(self) -> float:
        """Seconds between the marks, on the GPU: where the host is too slow, its pauses count."""
        return sum(float(cupy().cuda.get_elapsed_time(*pair)) for pair in self.marks) / 1000


def module_times(work: Work, method: str, K: int) -> dict[str, Any]:
    """Milliseconds of an iteration: the wall's, and for each module those in which it waits to ask, asks, is busy."""
    training, n = on_gpu(work).training(method, K, "threads"), work.iterations
    run = ENGINES["threads"]
    run(training.pipeline, training.task, 0, n)
    meters = []
    for module in training.pipeline.modules:
        meters.append(meter := Meter(module.device, module.device.launching()))
        module.device.launching = meter.launching  # type: ignore[method-assign]
    begun = perf_counter()
    run(training.pipeline, training.task, n, 2 * n)
    seconds = perf_counter() - begun
    each = 1000 / n
    return {"wall": each * seconds} | {
        f"module {k}": {"waits to ask": each * m.waited, "asks": each * m.asked, "busy": each * m.busy()}
        for k, m in enumerate(meters, 1)
    }


# 6. and 7. PyTorch


def beside_pytorch(work: Work, repetitions: int) -> dict[str, Any]:
    """Ratios of times, bp of PyTorch eager with and without TF32; ours is float32 without."""
    gpu, found = on_gpu(work), {}
    for precision in ("float32", "TF32"):
        contenders: dict[str, Contender] = {f"{method} K={K}": gpu.ours(method, K, "threads") for method, K in WAYS}
        if find_spec("torch"):
            import torch

            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
            contenders["torch"] = work.torch(1, device="cuda")
            contenders["torch channels last"] = work.torch(1, channels_last=True, device="cuda")
        seconds = take_turns(contenders, repetitions)
        for name in list(contenders)[1:]:
            found[f"bp's time over that of {name}, {precision}"] = asdict(ratio(seconds["bp K=1"], seconds[name]))
        if not find_spec("torch"):
            break
    return found


def beside_the_cpu(work: Work) -> dict[str, Any]:
    """How many times as fast as one core."""
    ways = {"cpu": shorter(work, 1), "gpu": shorter(on_gpu(work), 1)}
    seconds = take_turns({name: way.ours("bp", 1, "threads") for name, way in ways.items()}, 2)
    return asdict(ratio(seconds["cpu"], seconds["gpu"]))


@dataclass(frozen=True)
class Asked:
    """What one iteration asks of the GPU, on average."""

    launches: float
    waits: float
    busy: float
    """The part of the time between its first and its last kernel in which the GPU computes or copies."""


def asked(work: Work, method: str, K: int) -> Asked:
    """What an iteration asks, by PyTorch's profiler, which sees all CUDA calls of the process.

    The waits are those that 20 iterations make more than 10: a call of the engine waits once per worker at its end.
    """
    from torch.profiler import ProfilerActivity, profile

    def count(iterations: int) -> tuple[int, int, float]:
        contender = shorter(on_gpu(work), iterations).ours(method, K, "threads")
        contender()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
            contender()
        events = record.events()
        launches, waits = (sum(e.name in names for e in events) for names in (LAUNCHES, WAITS))
        spans = sorted((e.time_range.start, e.time_range.end) for e in events if "CUDA" in str(e.device_type))
        return launches, waits, covered(spans)

    (few, waited, _), (many, waited_longer, busy) = count(10), count(20)
    return Asked((many - few) / 10, (waited_longer - waited) / 10, busy)


def covered(spans: list[tuple[float, float]]) -> float:
    """The part of the time from the first start to the last end that the spans, sorted by start, cover together."""
    if not spans:
        return 0.0
    total, reached = 0.0, spans[0][0]
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / (reached - spans[0][0])


# 8. Tests

PYTEST = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-W", "default"]
TESTS = [*PYTEST, "tests/test_devices.py", "tests/test_engines.py"]


def run_tests(command: Sequence[str] = TESTS, seconds: float = TESTS_SECONDS) -> dict[str, Any]:
    """The tests that run on a GPU where there is one: their last line. Raises RuntimeError unless they passed.

    What they say is passed on as it comes, so that one that never ends is named.
    """
    end_of_it, over = b"", Event()

    def end() -> None:
        over.set()
        process.kill()

    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        timer = Timer(seconds, end)
        timer.start()
        assert isinstance(process.stdout, BufferedReader)
        while said := process.stdout.read1():
            print(said.decode(errors="replace"), end="", flush=True)
            end_of_it = (end_of_it + said)[-1000:]
        timer.cancel()
    line = (end_of_it.decode(errors="replace").strip().splitlines() or ["nothing"])[-1].strip("= ")
    if over.is_set():
        raise RuntimeError(f"not done after {seconds:g} seconds, at: {line}")
    if process.returncode:
        raise RuntimeError(line)
    return {"passed": line}


def tests() -> dict[str, Any]:
    """What the tests say. Raises ModuleNotFoundError where they cannot run."""
    if missing := [name for name in ("pytest", "hypothesis") if not find_spec(name)]:
        raise ModuleNotFoundError(f"expected pytest and hypothesis, {' and '.join(missing)} is missing; install it")
    return run_tests()


# All of it


def steps(networks: Sequence[Work], repetitions: int) -> Iterator[Step]:
    """What is to be found out, in order."""
    yield "versions", versions
    yield "calls", calls
    for model in ("mlp", "cnn", "resnet"):
        yield f"float64 against the CPU: {model}", lambda model=model: differences(model)
    for model in ("mlp", "cnn", "resnet"):
        yield f"threads against the reference: {model}", lambda model=model: bits(model)
    yield "kernels", lambda: kernel_times(repetitions)
    for work in networks:
        for method, K in WAYS:
            yield (
                f"modules, milliseconds: {work.title}, {method} K={K}",
                lambda work=work, method=method, K=K: module_times(work, method, K),
            )
    for work in networks:
        yield f"PyTorch: {work.title}", lambda work=work: beside_pytorch(work, repetitions)
        yield f"one core's time over the GPU's: {work.title}", lambda work=work: beside_the_cpu(work)
    for work in networks if find_spec("torch") else ():
        for method, K in WAYS[:2]:
            yield (
                f"asked: {work.title}, {method} K={K}",
                lambda work=work, method=method, K=K: asdict(asked(work, method, K)),
            )
    yield "tests", tests


def go_through(todo: Iterable[Step], result: dict[str, Any], out: Path) -> bool:
    """Put all that is found into `result`, and write it down each time: whatever ends this, it is there.

    A step that fails is written down with what it said. Returns whether none did.
    """
    out.mkdir(parents=True, exist_ok=True)
    result["steps"] = {}
    for name, find in todo:
        print(f"{name} ...", flush=True)
        begun, step = perf_counter(), {}
        try:
            step["found"] = find()
        except Exception as error:
            step["failed"], step["traceback"] = f"{type(error).__name__}: {error}", format_exc()
        step["seconds"] = round(perf_counter() - begun, 3)
        result["steps"][name] = step
        write_json(out / "gpu.json", result)
        write_text(out / "gpu.md", report(result))
        print(step.get("failed", "done"), flush=True)
    return not failures(result)


def failures(result: Mapping[str, Any]) -> list[str]:
    """The steps that failed, and the calls that did."""
    steps = result["steps"]
    said = steps.get("calls", {}).get("found", {})
    return [name for name, step in steps.items() if "failed" in step] + [name for name in said if said[name] != "ok"]


def report(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    gpu = result["steps"].get("versions", {}).get("found", {}).get("gpu", "a GPU")
    failed = failures(result)
    lines = [
        f"# {gpu}, {result['date']}",
        "",
        "Made by `python -m benchmarks.gpu`; all numbers are in gpu.json beside this.",
        "",
        f"Failed: {', '.join(failed)}." if failed else "No step has failed.",
    ]
    for name, step in result["steps"].items():
        lines += ["", f"## {name}", "", f"{step['seconds']:.1f} seconds."]
        lines += ["", f"FAILED: {step['failed'].splitlines()[0]}"] if "failed" in step else []
        rows = [*flat(step.get("found", {}))]
        lines += (
            ["", "| what | value |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)] if rows else []
        )
    return "\n".join([*lines, ""])


def flat(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of what was found, with the names that lead to them."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}: ")
        else:
            yield f"{above}{name}", f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory for gpu.json and gpu.md")
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each contender (default 7)")
    options = parser.parse_args()
    try:
        check_gpu(0)
    except InputError as error:
        sys.exit(f"benchmarks.gpu: {error}")
    result: dict[str, Any] = {"date": date.today().isoformat(), "repetitions": options.repetitions}
    if not go_through(steps(works(), options.repetitions), result, options.out):
        sys.exit(f"benchmarks.gpu: failed: {', '.join(failures(result))}")


if __name__ == "__main__":
    main()
