"""`python -m docs.draw`: measure and draw the README's timelines."""

from pathlib import Path

from benchmarks.__main__ import BATCH, DEPTH, WIDTH, random_data
from ddg_ref import train
from ddg_ref.plots import timelines
from ddg_ref.timeline import busy_fraction, last_iterations

HERE = Path(__file__).parent


def main() -> None:
    data = random_data(WIDTH, WIDTH, 10 * WIDTH)
    options = {"model": "mlp", "width": WIDTH, "depth": DEPTH, "batch_size": BATCH, "lr": 1e-3, "modules": 2}
    rows = {}
    for method in ("bp", "ddg"):
        run = train(data=data, method=method, iterations=40, drain=False, **options)
        rows[run.label] = last_iterations(run.spans, 5)
        busy = ", ".join(f"module {k} {100 * part:.0f}%" for k, part in busy_fraction(rows[run.label]).items())
        print(f"{run.label}: busy {busy}")
    timelines(rows).savefig(HERE / "timelines.png")


if __name__ == "__main__":
    main()
