"""`python -m docs.draw`: measure and draw the README's timelines, and the two figures in the theory's."""

from pathlib import Path

from benchmarks.contenders import mlp
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.plots import timelines
from ddg_ref.runs.trace import busy_fraction, last_iterations
from theory.figures import circular_orbit, momentum_thresholds

HERE = Path(__file__).parent
ITERATIONS, SHOWN = 40, 5


def main() -> None:
    rows = {}
    for method in ("bp", "ddg"):
        training = mlp(512, 128).training(method, 2, "threads")
        spans = ENGINES["threads"](training.pipeline, training.task, 0, ITERATIONS).spans
        name = f"{method} K=2"
        rows[name] = last_iterations(spans, SHOWN)
        busy = ", ".join(
            f"module {k} {100 * part:.0f}%"
            for k, part in busy_fraction(last_iterations(spans, ITERATIONS // 2)).items()
        )
        print(f"{name}: busy {busy}")
    timelines(rows).savefig(HERE / "timelines.png")
    circular_orbit().savefig(HERE / "circle.png")
    momentum_thresholds().savefig(HERE / "momentum.png")


if __name__ == "__main__":
    main()
