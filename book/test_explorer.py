"""The schedule explorer in a browser: what it shows, against what ddg_ref computes."""

import json
import random
from math import inf, pi, sin

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from stages import FILES, FOLDER

from book import explorer
from book.conftest import BOOK
from ddg_ref.errors import InputError
from ddg_ref.methods import METHODS
from ddg_ref.periods import Times
from ddg_ref.schedule_files import parse
from ddg_ref.simulation import pace, simulate
from ddg_ref.versions import Life, settled
from docs.schedules import holds

TIMES = [(ratio, latency) for ratio in (1.0, 2.0, 3.0) for latency in (0.0, 0.5, 2.0)]
SHOWN = """
return {
  bars: [...document.querySelectorAll(".explorer-bar")].map(bar => ({...bar.dataset})),
  readouts: Object.fromEntries([...document.querySelectorAll(".explorer-readouts div")].map(
    one => [one.querySelector("dt").textContent, one.querySelector("dd").textContent])),
}
"""


def visit(driver, link):
    """Load the page anew, and wait until it has drawn: `get` may come back before the scripts have run."""
    driver.get("about:blank")
    driver.get(link)
    drawn = "return location.href !== 'about:blank' && Boolean(window.explorer?.found)"
    WebDriverWait(driver, 30).until(lambda driver: driver.execute_script(drawn))


@pytest.fixture(scope="module")
def page(address, driver):
    visit(driver, address + "book/explorer.html")
    return driver


def shown(page, name, K, M, ratio, latency):
    settings = {"schedule": name, "K": K, "M": M, "ratio": ratio, "latency": latency, "predict": False, "large": False}
    page.execute_script(
        "window.explorer.set(arguments[0], false)", settings
    )  # Chromium takes 200 links in 10 s, no more
    return page.execute_script(SHOWN)


def expected_bars(name, programs, M, times):
    """(worker, action, weights, start, stop) of all that takes time, by the library."""
    policy = explorer.weights(name) if name in explorer.TITLES else "forward"
    cells = [(a.number // (1 if a.kind == "U" else M)) for own in programs for _, a in own(0)]
    found = []
    for own in simulate(programs, times, 3 - min(cells)):
        lives, used = {}, {}
        for bar in own:
            life = lives.setdefault(bar.k, Life(bar.k, M, in_order=False))
            used.setdefault((bar.k, bar.action.number), life.version)
            version = life.version if policy == "current" else used[bar.k, bar.action.number]
            life.perform(bar.t, bar.action)
            if bar.stop > bar.start:
                differs = " ≠" if version != used[bar.k, bar.action.number] else ""
                sign = "p" if policy == "predicted" else "w"
                label = f"{bar.action.kind}{bar.action.number}·{sign}{version}{differs}"
                found.append((bar.worker, bar.k, label, bar.start, bar.stop))
    return found


def times_of(programs, M, ratio, latency):
    """A forward pass of a micro-batch takes 1 on each worker, however many stages that has."""
    K = max(k for own in programs for k, _ in own(0))
    each = K // len(programs)
    forward, backward = np.full(K, M / each), np.full(K, M * ratio / each)
    return Times(forward, backward, latency, parts=M, error=backward / 2)


def compare(found, name, programs, M, ratio, latency):
    times = times_of(programs, M, ratio, latency)
    expected = expected_bars(name, programs, M, times)
    stages = len(programs) < times.K or name not in explorer.TITLES
    ours = [(w, f"{k - 1}{label}" if stages else label) for w, k, label, _, _ in expected]
    assert [(int(bar["worker"]), bar["label"]) for bar in found["bars"]] == ours
    for place, side in ((3, "start"), (4, "stop")):
        seen = [float(bar[side]) for bar in found["bars"]]
        np.testing.assert_allclose(seen, [one[place] for one in expected], atol=1e-9)
    speed = pace(programs, times)
    held = [holds(own, M, settled(times.K)) for own in programs]
    current = name in METHODS and METHODS[name].weights == "current"
    delay = max(one.delay for one in held)
    exact = name not in explorer.NO_THEOREM
    plain, heavy = explorer.data()["limits"][delay]
    readouts = found["readouts"]
    assert float(readouts["an iteration takes"]) == pytest.approx(speed.period, abs=6e-4)
    assert float(readouts["bubble"].removesuffix("%")) == pytest.approx(100 * np.mean(speed.bubble), abs=2e-2)
    assert int(readouts["weight versions kept"]) == (1 if current else max(one.versions for one in held))
    assert int(readouts["micro-batches in flight"]) == max(one.stages for one in held)
    assert readouts["largest delay"].split()[0] == str(delay)
    for term, limit in (("largest stable γL", plain), ("with momentum 0.9", heavy)):
        assert readouts[term] == (f"{limit:.3f}".rstrip("0").rstrip(".") if exact else "no theorem")


@pytest.mark.parametrize("name", explorer.TITLES)
def test_it_shows_what_the_library_computes(page, name):
    """Every K and M that it offers, up to K = 4 with every ratio and latency, beyond with one of each in turn."""
    for i, (K, M, programs) in enumerate(explorer.programs(name)):
        for ratio, latency in TIMES if K <= 4 else TIMES[i % 9 :: 9]:
            compare(shown(page, name, K, M, ratio, latency), name, programs, M, ratio, latency)


def test_a_half_done_backward_pass_is_in_flight(page):
    """As long as its second half is to come: with all of these at the end it is as many as there are micro-batches."""
    text = "0F0,0I0,0F1,0I1,0F2,0I2,0W0,0W1,0W2"
    file = parse(text)
    pasted(page, text)
    page.execute_script("window.explorer.set({ratio: 2, latency: 0}, false)")
    found = page.execute_script(SHOWN)
    compare(found, "own", file.programs, file.M, 2, 0)
    assert found["readouts"]["micro-batches in flight"] == "3"


def test_the_limits_are_those_of_the_theory():
    """Without momentum, gamma L < 2 sin(pi / (2 (2 d + 1))) for a delay of d; at delay 0 heavy ball's 2 (1 + beta)."""
    limits = explorer.data()["limits"]
    for d, (plain, heavy) in enumerate(limits):
        assert plain == pytest.approx(2 * sin(pi / (2 * (2 * d + 1))), rel=1e-12)
        assert heavy < plain or d == 0
    assert limits[0][1] == pytest.approx(2 * 1.9)


def pasted(page, text):
    page.execute_script("window.explorer.read(arguments[0])", text)
    return page.find_element(By.CLASS_NAME, "explorer-verdict").get_attribute("textContent")


@pytest.mark.parametrize("name", FILES)
def test_it_takes_the_schedules_of_pytorch(page, name):
    text = (FOLDER / f"{name}.csv").read_text()
    file = parse(text)
    assert pasted(page, text).startswith(
        f"No deadlock: {len(file.rows)} ranks, {file.K} stages, {file.M} micro-batches"
    )
    page.execute_script("window.explorer.set({ratio: 3, latency: 0.5}, false)")
    compare(page.execute_script(SHOWN), "own", file.programs, file.M, 3, 0.5)


WRONG = [
    "0F0,0F1,0B0,0B1\n1F0,1B0,1F1",  # no backward pass of the last one
    "0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1",  # each waits for the other
    "0F0,0F1,0B0,0B1\n1F1,1F0,1B0,1B1",  # another order
    "0F0,0B0\n\n2F0,2B0",
    "0F0,0B0\n0F0,0B0",
    "0F0,0F0,0B0",
    "0B0,0F0",
    "0F0,0I0,0B0",
    "0F0,0W0,0I0",
    "0F0,0I0",
    "0F0,0B0,0SEND_F0",
    "0F0,0B0,0UNSHARD",
    "0F0,0B0,'",
    "",
    "<img src=x onerror=alert(1)>",
    "0F0,0B0,0F2,0B2",
    "1F0,1B0",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_schedule_is_said_as_the_library_says_it(page, text):
    with pytest.raises(InputError) as caught:
        parse(text).check(lambda a, b: inf)
    said = pasted(page, text)
    expected = str(caught.value)
    assert said == expected
    assert not page.find_elements(By.CSS_SELECTOR, "#explorer img, #explorer script")


def spoiled(text, chance):
    """A schedule in which two actions of a rank have changed places, or one is missing, doubled or another rank's."""
    rows = [line.split(",") for line in text.split()]
    row = chance.choice(rows)
    i, j = chance.randrange(len(row)), chance.randrange(len(row))
    kind = chance.randrange(6)
    if kind < 3:
        row[i], row[j] = row[j], row[i]
    else:
        row[i] = ("", row[j], chance.choice(chance.choice(rows)))[kind - 3]
    return "\n".join(map(",".join, rows))


def test_spoiled_schedules_of_pytorch_are_judged_as_the_library_judges_them(page):
    """Those without overlapped pairs, which the library counts as two columns and the page, as the file, as one."""
    chance, verdicts = random.Random(18), []
    files = [(FOLDER / f"{name}.csv").read_text() for name in FILES if "DualPipe" not in name]
    judge = "window.explorer.take(arguments[0]); return document.querySelector('.explorer-verdict').textContent"
    for _ in range(400):
        text = spoiled(chance.choice(files), chance)
        try:
            parse(text).check(lambda a, b: inf)
            expected = "No deadlock: "
        except InputError as error:
            expected = str(error)
        said = page.execute_script(judge, text)
        assert said.startswith(expected) if expected == "No deadlock: " else said == expected, text
        verdicts.append(expected)
    for wanted in ("No deadlock", "can never happen", "let both have the same order", "change the order", "add it"):
        assert sum(wanted in verdict for verdict in verdicts) >= 5, wanted


def test_a_schedule_can_be_dropped(page):
    drop = """
    const data = new DataTransfer();
    data.items.add(new File([arguments[0]], "own.csv"));
    const box = document.querySelector(".explorer-own");
    box.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
    """
    page.execute_script("document.querySelector('.explorer-verdict').textContent = ''")
    page.execute_script(drop, "0F0,0B0\n1F0,1B0\n2F0,2B0\n")
    verdict = page.find_element(By.CLASS_NAME, "explorer-verdict")
    WebDriverWait(page, 10).until(lambda _: verdict.get_attribute("textContent"))
    assert verdict.get_attribute("textContent").startswith("No deadlock: 3 ranks")


def test_a_schedule_too_large_to_draw_is_refused_and_the_largest_drawn(page):
    def flush(K, M):
        return "\n".join(",".join(f"{k}{kind}{n}" for kind in "FB" for n in range(M)) for k in range(K))

    assert pasted(page, flush(32, 64)).startswith("No deadlock")
    assert len(page.find_elements(By.CLASS_NAME, "explorer-bar")) == 3 * 2 * 32 * 64
    assert pasted(page, flush(32, 65)).startswith("expected at most 2048 forward passes, got 32 stages with 65")


def test_a_link_holds_a_schedule_of_ones_own(page, address):
    pasted(page, "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n")
    page.execute_script("window.explorer.set({latency: 1})")
    link, before = page.execute_script("return location.href"), page.execute_script(SHOWN)
    wrong = link.replace("K=2&M=2", "K=7&M=1")  # the schedule itself says how many
    assert wrong != link
    for text in (link, wrong, address + "book/explorer.html#schedule=own&csv=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"):
        visit(page, text)
        if text in (link, wrong):
            assert page.execute_script(SHOWN) == before
    assert "expected an action like 0F0" in page.find_element(By.CLASS_NAME, "explorer-verdict").text
    assert page.execute_script("return window.explorer.settings.schedule") == "ddg"
    assert not page.find_elements(By.CSS_SELECTOR, "#explorer img")


def test_it_needs_no_server(page, address):
    visit(page, (BOOK / "book" / "explorer.html").as_uri() + "#schedule=1f1b&K=4&M=8")
    assert page.find_elements(By.CSS_SELECTOR, ".explorer-bar[data-label='B0·w0']")
    page.execute_script("window.explorer.set({K: 3})")
    assert "K=3&M=8" in page.execute_script("return location.href")
    script = (BOOK / "_static" / "explorer.js").read_text()
    assert not [word for word in ("fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval(") if word in script]
    assert (BOOK / "_static" / "explorer_data.js").stat().st_size < 1_000_000
    visit(page, address + "book/explorer.html")


def test_a_link_holds_the_settings(page, address):
    visit(page, address + "book/explorer.html#schedule=2bw&K=4&M=8&ratio=1.5&latency=0.25&large=1")
    state = page.execute_script("return window.explorer.settings")
    wanted = {"schedule": "2bw", "K": 4, "M": 8, "ratio": 1.5, "latency": 0.25, "predict": False, "large": True}
    assert state == wanted
    page.execute_script("window.explorer.set({K: 5})")
    link = page.execute_script("return location.href")
    assert "schedule=2bw" in link
    assert "K=5" in link
    for bad in ("schedule=<img>", "K=-3&M=x", "schedule=__proto__", "ratio=0&latency=1e9", "K=99", "schedule=own"):
        visit(page, f"{address}book/explorer.html#{bad}")
        assert page.find_elements(By.CLASS_NAME, "explorer-bar"), bad
    visit(page, address + "book/explorer.html")


def test_keys_go_from_bar_to_bar_and_say_what_they_are(page):
    shown(page, "ddg", 3, 1, 2, 0)
    first = page.find_element(By.CSS_SELECTOR, ".explorer-bar[tabindex='0']")
    first.send_keys(Keys.ARROW_RIGHT)
    active = page.switch_to.active_element
    assert active.get_attribute("data-label") == "F1·w0"
    active.send_keys(Keys.ARROW_DOWN)
    active = page.switch_to.active_element
    said = page.find_element(By.CLASS_NAME, "explorer-said")
    assert said.get_attribute("role") == "status"
    assert said.text == "module 2: forward pass of micro-batch 0 with weights version 0, from 1 to 2"
    assert active.get_attribute("aria-label") == said.text
    assert len(page.find_elements(By.CSS_SELECTOR, ".explorer-bar[tabindex='0']")) == 1
    labelled = "return [...document.querySelectorAll('#explorer select, #explorer input, #explorer textarea')]"
    assert page.execute_script(labelled + ".every(one => one.labels.length == 1)")
    rows = page.find_elements(By.CSS_SELECTOR, ".explorer-table tbody tr")
    assert len(rows) >= len(page.find_elements(By.CLASS_NAME, "explorer-bar"))


def test_a_prediction_is_asked_for_before_the_answer(page):
    shown(page, "ddg-current", 2, 1, 2, 0)
    page.execute_script("window.explorer.set({predict: true})")
    labels = {bar["label"] for bar in page.execute_script(SHOWN)["bars"]}
    assert all(label.endswith("·?") for label in labels)
    whole = page.find_element(By.ID, "explorer").get_attribute("innerHTML")
    assert "·w" not in whole
    assert "weights version" not in whole
    assert "≠" not in whole
    assert "explorer-differs" not in whole
    bar = page.find_element(By.CSS_SELECTOR, ".explorer-bar[data-id='1B1']")
    for answer, verdict in (("0", "Not 0"), ("1", "Right")):
        page.execute_script("window.explorer.set({predict: true})")
        bar = page.find_element(By.CSS_SELECTOR, ".explorer-bar[data-id='1B1']")
        page.execute_script("arguments[0].dispatchEvent(new Event('click'))", bar)
        page.find_element(By.ID, "explorer-answer").send_keys(answer, Keys.ENTER)
        said = page.find_element(By.CLASS_NAME, "explorer-said").text
        assert said.startswith(f"{verdict}: module 1: backward pass of micro-batch 1 with weights version 1")
        assert said.endswith("its forward pass used version 0.")
    assert [bar["label"] for bar in page.execute_script(SHOWN)["bars"]].count("B1·w1 ≠") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_legible(page, theme, resize):
    """On a projector a pipeline of four is seen, in large letters, up to the first backward pass of module 1. On a
    phone the page does not scroll sideways. All text stands out from its ground by 4.5 to 1."""
    page.execute_script("document.body.dataset.theme = arguments[0]", theme)
    try:
        resize(1920, 1080)
        shown(page, "ddg-current", 4, 1, 2, 0)
        page.execute_script("window.explorer.set({large: true}, false)")
        assert page.execute_script(
            "return document.querySelector('.explorer-picture svg').getAttribute('font-size') >= 19"
        )
        assert page.execute_script(
            "return document.querySelector(\".explorer-bar[data-id='1B0']\").getBoundingClientRect().right"
            " <= document.querySelector('.explorer-picture').getBoundingClientRect().right"
        )
        resize(400, 900)
        shown(page, "ddg-current", 8, 1, 1, 0)
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        contrast = page.execute_script(CONTRAST)
        assert json.loads(contrast) >= 4.5
        assert page.execute_script(
            "return document.querySelector('.explorer-picture svg').getAttribute('font-size') >= 13"
        )
    finally:
        page.execute_script("document.body.dataset.theme = 'auto'")


@pytest.mark.parametrize("width", [400, 900, 1100, 1400, 1920])
def test_only_the_picture_scrolls_sideways(page, width, resize):
    resize(width, 900)
    shown(page, "ddg", 8, 1, 2, 2)
    outside = """
    return [...document.querySelectorAll("article, .content-icon-container, #explorer > *, .explorer-controls *, dd")]
      .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
      .map(one => one.className || one.tagName)"""
    assert page.execute_script(outside) == []
    assert page.execute_script(
        "const {scrollWidth, clientWidth} = document.querySelector('.explorer-picture');"
        "return scrollWidth > clientWidth"
    )


CONTRAST = """
const channel = value => value <= 10.31 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
const light = colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(channel);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const style = (node, what) => getComputedStyle(node)[what];
const ground = style(document.body, "backgroundColor");
const bars = [...document.querySelectorAll(".explorer-bar")].map(
  bar => ratio(style(bar.querySelector("text"), "fill"), style(bar.querySelector("rect"), "fill")));
const names = [...document.querySelectorAll(".explorer-name, .explorer-time")].map(
  text => ratio(style(text, "fill"), ground));
const words = [...document.querySelectorAll(".explorer-readouts dt, .explorer-readouts dd")].map(
  text => ratio(style(text, "color"), ground));
return JSON.stringify(Math.min(...bars, ...names, ...words));
"""


def test_the_library_has_no_schedule_that_is_not_shown():
    assert explorer.TITLES.keys() >= METHODS.keys() | {"interleaved", "zb-h1", "zb-v"}
    for name, row in METHODS.items():
        assert (row.forward, explorer.weights(name)) in {("newest", row.weights), ("predicted", "predicted")}
