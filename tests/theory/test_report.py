"""Tables against the literature's values, and the report as a whole."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from theory import bounds, figures, matrix, report, stability, tables
from theory.__main__ import app
from theory.claims import CLAIMS, lemma_1_search
from theory.delayed import ddg
from theory.families import make_problem
from theory.optimizers import SGD
from theory.problems import Quadratic, split


def test_tightness_of_one_cell():
    """Same order of magnitude as recorded before: paper .081, lin .279, clean .146, sharp .278 at K = 2,
    gamma L = .05."""
    row = tables.tightness(2, 0.05)
    for name, before in (("paper", 0.081), ("lin", 0.279), ("clean", 0.146), ("sharp", 0.278)):
        high, middle = row.ratios[name]
        assert 0 < middle < high < 1
        assert before / 3 < high < before * 3
    assert row.need_full < bounds.lemma_r_full(2)
    assert row.need_v < 1.5


@pytest.mark.parametrize(("K", "before"), [(1, 0.495), (2, 0.459)])
def test_half_of_the_paper_is_approached_and_not_reached(K, before):
    """The ratio grows towards 1/2 as the step shrinks; .459 at K = 2 and .495 at K = 1 for gamma L = .005."""
    coarse, fine = (tables.half_of_the_paper(K, gamma_L) for gamma_L in (0.05, 0.005))
    assert coarse < fine < 0.5
    assert fine == pytest.approx(before, abs=2e-3)


@pytest.mark.parametrize(("K", "before"), [(1, 0.99), (2, 0.44), (3, 0.38), (4, 0.35)])
def test_huber_cycles(K, before):
    found = tables.huber_cycle(K, T=1200)
    assert found["S/lin"] == pytest.approx(before, rel=0.05)
    assert found["S/lin"] <= 1


def test_noise_floor_against_simulation():
    """The Lyapunov equation against a long run of the iteration itself."""
    H = make_problem("quadratic", 3, 1, seed=1).H + 0.3 * np.eye(4)
    e = np.array([1.0, -0.5, 0.2, 0.8])
    problem = Quadratic(H, np.stack([e, -e]), 3)
    gamma = 0.3 / problem.L
    samples = np.random.default_rng(0).integers(2, size=(200, 600))
    w = ddg(problem, np.zeros(4), samples, SGD(np.full(600, gamma)))
    measured = (problem.grad(w[200:]) ** 2).sum(axis=-1).mean()
    floor = stability.noise_floor(H, split(4, 3), gamma, np.outer(e, e))
    assert measured == pytest.approx(floor, rel=0.03)


def test_noise_floor_of_sgd():
    """K = 1: gamma L nu^2/(2 - gamma L) in the steepest direction."""
    floor = stability.noise_floor(np.eye(1), split(1, 1), 0.5, np.eye(1))
    assert floor == pytest.approx(0.5 / 1.5, rel=1e-12)


def test_adversary_improves_and_breaks_nothing():
    for form in ("sharp", tables.STEP):
        few, more = (tables.adversarial(2, form, tries=tries) for tries in (20, 300))
        assert few < more < 1
        assert more > 0


def test_drawn_counterexample_is_one():
    outcome = lemma_1_search.check(figures.COUNTEREXAMPLE, ddg)
    assert outcome.measured == 0.0
    assert outcome.bound == -7 / 20000


def test_lemma_1_fails_on_half_the_histories():
    assert tables.violating_share(2, 0.0005, count=10) == 0.5
    assert tables.violating_share(2, 0.05, count=10) == 0.0


def test_report_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "huber_cycle", lambda K: {"gamma L": 1.0, "S": 1.0, "S/lin": 0.5, "S/paper": 0.1})
    monkeypatch.setattr(report, "searched", lambda: "nothing")
    for name in ("tightness", "adversarial", "halves", "floors", "decreasing", "shares", "circles", "constants"):
        monkeypatch.setattr(report, name, lambda: "| table |")
    monkeypatch.setattr(matrix, "weaker_table", lambda found: "| weaker |")
    monkeypatch.setattr(matrix, "wrong_table", lambda found: "| wrong |")
    for name in ("weaker", "wrong"):
        monkeypatch.setattr(matrix, name, dict)
    done = CliRunner().invoke(app, ["report", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "report.md").read_text()
    for name in ("bounds", "modules", "counterexample", "stability", "circle", "momentum"):
        assert f"({name}.png)" in text
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000


def test_search_in_the_report_ends_in_small_fractions():
    note = report.searched()
    assert note.startswith("f_1 = ")
    assert len(note) < 350


def test_readme_names_every_claim():
    text = (Path(report.__file__).parent / "README.md").read_text()
    assert [name for name in CLAIMS if f"`{name}`" not in text] == []


def test_report_refuses_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["report", "--out", str(tmp_path / "file")])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: out: expected a folder")
