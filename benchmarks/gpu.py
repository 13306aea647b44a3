"""`python -m benchmarks.gpu --out DIR`: everything that needs a GPU, in one go, in a few minutes; `make gpu-check`.

First the tests of layers and engines on devices, which on a machine with a GPU run on it. Then ratios, measured side by
side: our iteration over PyTorch eager's, both float32 without TF32, both fed from host memory; the GPU over one CPU
core; ddg with K modules on one GPU over bp. And what an iteration asks of the GPU, counted by PyTorch's profiler where
there is one: kernel launches, waits of the host, the part of the time in which the GPU is busy. Writes gpu.json and
gpu.md, anew after each step.
"""

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.util import find_spec
from io import BufferedReader
from pathlib import Path
from statistics import median
from threading import Event, Timer
from typing import Any

from benchmarks.contenders import Work, mlp, resnet
from benchmarks.timing import Contender, Ratio, ratio, take_turns
from ddg_ref.arrays import cupy
from ddg_ref.errors import InputError
from ddg_ref.gpu.cuda import check_gpu
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import write_json, write_text

ROOT = Path(__file__).parents[1]
TESTS_SECONDS = 240
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy", "cuStreamSynchronize")
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx")


@dataclass(frozen=True)
class Asked:
    """What one iteration asks of the GPU, on average."""

    launches: float
    waits: float
    busy: float
    """The part of the time between its first and its last kernel in which the GPU computes or copies."""


def works() -> list[Work]:
    return [mlp(4096, 1024, iterations=20), resnet(20, 128, iterations=20)]


def on_gpu(work: Work) -> Work:
    return replace(work, config=replace(work.config, device="cuda:0"))


def shorter(work: Work, iterations: int) -> Work:
    return replace(work, iterations=iterations)


def measure(work: Work, repetitions: int, torch: bool) -> dict[str, Ratio]:
    """What -> ratio."""
    gpu = on_gpu(work)
    contenders: dict[str, Contender] = {
        "bp": gpu.ours("bp", 1, "threads"),
        "ddg K=2": gpu.ours("ddg", 2, "threads"),
        "ddg K=4": gpu.ours("ddg", 4, "threads"),
    }
    if torch:
        contenders["torch"] = work.torch(1, device="cuda")
        contenders["torch channels last"] = work.torch(1, channels_last=True, device="cuda")
    seconds = take_turns(contenders, repetitions)
    found = {f"speed-up of {name} over bp": ratio(seconds["bp"], seconds[name]) for name in ("ddg K=2", "ddg K=4")}
    if torch:
        best = min(("torch", "torch channels last"), key=lambda name: median(seconds[name]))
        found["our bp / PyTorch eager's"] = ratio(seconds["bp"], seconds[best])
        found["our ddg K=2 / PyTorch eager's bp"] = ratio(seconds["ddg K=2"], seconds[best])
    once = take_turns(
        {"cpu": shorter(work, 1).ours("bp", 1, "threads"), "gpu": shorter(gpu, 1).ours("bp", 1, "threads")}, 2
    )
    found["speed-up of the GPU over one CPU core"] = ratio(once["cpu"], once["gpu"])
    return found


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


PYTEST = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-W", "default"]
TESTS = [*PYTEST, "tests/test_devices.py", "tests/test_engines.py"]


def run_tests(command: Sequence[str] = TESTS, seconds: float = TESTS_SECONDS) -> dict[str, Any]:
    """The tests that run on a GPU where there is one: whether they passed, and their last line.

    What they say is passed on as it comes, so that one that never ends is named.
    """
    reproducible = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}  # without it cuBLAS adds differently in each stream
    environment = os.environ | reproducible | {"PYTHONUNBUFFERED": "1"}
    end_of_it, over = b"", Event()

    def end() -> None:
        over.set()
        process.kill()

    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        timer = Timer(seconds, end)
        timer.start()
        assert isinstance(process.stdout, BufferedReader)
        while said := process.stdout.read1():
            print(said.decode(errors="replace"), end="", flush=True)
            end_of_it = (end_of_it + said)[-1000:]
        timer.cancel()
    line = (end_of_it.decode(errors="replace").strip().splitlines() or ["nothing"])[-1].strip("= ")
    return {
        "passed": process.returncode == 0 and not over.is_set(),
        "summary": f"not done after {seconds:g} seconds, at: {line}" if over.is_set() else line,
    }


def report(result: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        f"# {result['gpu']}, {result['date']}",
        "",
        f"Made by `python -m benchmarks.gpu`, CuPy {result['cupy']}, CUDA {result['cuda']}, "
        f"NumPy {result['environment']['numpy']}, PyTorch {result['torch'] or 'not installed'}; "
        f"float32, medians of {result['repetitions']} turns.",
        "",
        f"Tests on the GPU: {'passed' if result['tests']['passed'] else 'FAILED'} ({result['tests']['summary']}).",
        "",
        "| network | ratio | median | lowest | highest |",
        "|---|---|---|---|---|",
    ]
    for work, ratios in result["ratios"].items():
        for name, r in ratios.items():
            lines.append(f"| {work} | {name} | {r['median']:.2f} | {r['lowest']:.2f} | {r['highest']:.2f} |")
    lines += ["", "| network | method | kernel launches | waits of the host | GPU busy |", "|---|---|---|---|---|"]
    for work, ways in result["asked"].items():
        for way, a in ways.items():
            lines.append(f"| {work} | {way} | {a['launches']:.0f} | {a['waits']:.1f} | {100 * a['busy']:.0f}% |")
    return "\n".join([*lines, ""])


def steps(repetitions: int, torch: bool) -> Iterator[tuple[Sequence[str], Any]]:
    """What is found, in order: where it belongs in the result, and what it is."""
    yield ["tests"], run_tests()
    for work in works():
        yield ["ratios", work.title], {name: asdict(r) for name, r in measure(work, repetitions, torch).items()}
        for method, K in (("bp", 1), ("ddg", 2)) if torch else ():
            yield ["asked", work.title, f"{method} K={K}"], asdict(asked(work, method, K))


def go_through(found: Iterable[tuple[Sequence[str], Any]], result: dict[str, Any], out: Path) -> None:
    """Put all that is found into `result`, and write it down each time: whatever ends this, it is there."""
    for (*places, name), value in found:
        part = result
        for place in places:
            part = part.setdefault(place, {})
        part[name] = value
        write_json(out / "gpu.json", result)
        write_text(out / "gpu.md", report(result))


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory for gpu.json and gpu.md")
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each contender (default 7)")
    options = parser.parse_args()
    try:
        check_gpu(0)
    except InputError as error:
        sys.exit(f"benchmarks.gpu: {error}")
    xp, torch_version = cupy(), None
    if find_spec("torch"):
        import torch

        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch_version = torch.__version__
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "gpu": xp.cuda.runtime.getDeviceProperties(0)["name"].decode(),
        "gpus": xp.cuda.runtime.getDeviceCount(),
        "cupy": xp.__version__,
        "cuda": xp.cuda.runtime.runtimeGetVersion(),
        "torch": torch_version,
        "environment": environment(),
        "repetitions": options.repetitions,
        "tests": {"passed": False, "summary": "not begun"},
        "ratios": {},
        "asked": {},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    go_through(steps(options.repetitions, torch_version is not None), result, options.out)
    print(report(result))
    waits = [way["waits"] for ways in result["asked"].values() for way in ways.values()]
    if not result["tests"]["passed"] or any(waits):
        sys.exit("benchmarks.gpu: tests failed, or the host waits within iterations")


if __name__ == "__main__":
    main()
