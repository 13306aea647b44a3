"""The built book in a browser: formulas set, figures loaded, links good, no error, nothing fetched from outside.

`make browser` builds the book first. Skipped only where there is no Chromium.
"""

import json
import re
from base64 import b64decode
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, unquote, urldefrag, urlparse

import pytest
from selenium import webdriver
from selenium.webdriver.common.print_page_options import PrintOptions
from selenium.webdriver.support.wait import WebDriverWait

from book import explorer
from book.pages import SHOWN, ways_to_run
from notebooks.exercises.build import ASSIGNMENTS, notebook, text_of
from notebooks.exercises.student import student_version

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "build" / "book"
PAGES = sorted(str(path.relative_to(BOOK)) for path in BOOK.rglob("*.html") if path.parts[len(BOOK.parts)] != "_static")
SETTLED = """
const done = arguments[arguments.length - 1];
const formulas = [...document.querySelectorAll(".math")];
const mathematics = window.MathJax?.startup?.promise ?? Promise.resolve();
mathematics.then(() => {
  const images = [...document.images];
  images.forEach(image => image.loading = "eager");
  return Promise.all(images.map(image => image.decode().catch(() => null)));
}).then(() => done({
  formulas: formulas.length,
  unset: formulas.filter(formula => !formula.querySelector("mjx-container > svg")).map(e => e.textContent),
  wrong: [...document.querySelectorAll("[data-mjx-error], mjx-merror, [data-mml-node=merror]")].map(e => e.textContent),
  images: [...document.images].filter(image => image.naturalWidth == 0).map(image => image.src),
  links: [...document.querySelectorAll("a[href]")].map(a => a.href),
  text: document.body.innerText.length,
}));
"""


class Ids(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = {""}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.update(value for name, value in attrs if value and (name == "id" or (tag, name) == ("a", "name")))


@cache
def anchors(page: Path) -> set[str]:
    parser = Ids()
    parser.feed(page.read_text())
    return parser.found


def is_broken(link: str) -> bool:
    """Whether a link inside the book leads to no file or to no place in it."""
    page, anchor = urldefrag(link)
    path = BOOK / unquote(urlparse(page).path).lstrip("/")
    if path == BOOK / "book" / "explorer.html" and anchor.startswith("schedule="):  # settings, not a place
        return parse_qs(anchor)["schedule"][0] not in explorer.TITLES
    return not path.is_file() or (path.suffix == ".html" and unquote(anchor) not in anchors(path))


def requested(driver: webdriver.Chrome) -> list[str]:
    """What the browser has asked the network for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def test_every_lesson_has_a_page():
    lessons = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert lessons
    assert {Path(page).stem for page in PAGES if page.startswith("notebooks/")} >= lessons


def test_broken_links_are_seen():
    assert is_broken("http://127.0.0.1/nowhere.html")
    assert is_broken("http://127.0.0.1/book/index.html#nowhere")
    assert not is_broken("http://127.0.0.1/book/index.html#the-lessons")


@pytest.mark.parametrize("page", PAGES)
def test_page_is_whole(page, address, driver):
    driver.get("about:blank")
    driver.get_log("browser"), requested(driver)  # what came before is not this page's
    driver.get(address + page)
    if page == "index.html":  # leads on to the first page
        WebDriverWait(driver, 30).until(
            lambda driver: (
                driver.current_url == f"{address}book/index.html"
                and driver.execute_script("return document.readyState") == "complete"
            )
        )
    WebDriverWait(driver, 30).until(  # a page may be laid out only after it has been loaded
        lambda driver: driver.execute_script("return document.body !== null && document.body.innerText.length > 0")
    )
    state = driver.execute_async_script(SETTLED)
    assert state["text"] > 0
    assert not state["unset"]
    assert not state["wrong"]
    assert not state["images"], "figures that do not load"
    assert not {link for link in state["links"] if link.startswith(address) and is_broken(link)}
    assert not [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    outside = [url for url in requested(driver) if not url.startswith((address, "data:", "about:", "blob:"))]
    assert not outside


def test_formulas_and_figures_are_there_to_be_looked_at(address, driver):
    driver.get(address + "notebooks/01_backpropagation_by_hand.html")
    state = driver.execute_async_script(SETTLED)
    assert state["formulas"] > 5
    assert driver.execute_script("return document.querySelectorAll('.cell_output img').length") > 1


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_says_what_it_shows(page, address, driver):
    """To those who do not see it; a path or a kind of output says nothing."""
    driver.get(address + page)
    described = driver.execute_script(
        "return [...document.querySelectorAll('article img:not(.toggler)')].map(image => image.alt)"
    )
    assert not [alt for alt in described if len(alt.split()) < 3 or "/" in alt.split()[0]]


@pytest.mark.parametrize("lesson", sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_every_figure_of_a_lesson_has_a_number_and_a_caption(lesson, address, driver):
    driver.get(f"{address}notebooks/{lesson.stem}.html")
    pictures = driver.execute_script("return document.querySelectorAll('.cell_output img').length")
    captions = driver.execute_script(
        "return [...document.querySelectorAll('.cell_output figcaption')].map(c => c.innerText)"
    )
    assert len(captions) == pictures > 0
    assert all(re.match(r"Fig\. \d+ +\S", caption) for caption in captions)


@pytest.mark.parametrize("width", [1440, 400])
def test_letters_of_all_figures_have_one_size(width, address, driver, resize):
    """A figure that is shrunk to fit has smaller ones."""
    resize(width, 900)
    shown = {}
    for lesson in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        driver.get(f"{address}notebooks/{lesson.stem}.html")
        driver.execute_async_script(SETTLED)
        shown[lesson.stem] = driver.execute_script(
            "return [...document.querySelectorAll('.cell_output img')].map("
            "image => image.getBoundingClientRect().width / image.naturalWidth)"
        )
    assert all(shown.values())
    assert all(abs(scale - SHOWN) < 0.005 for scales in shown.values() for scale in scales), shown


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone(page, address, driver, resize):
    """What is wider scrolls by itself, the page does not."""
    resize(400, 900)
    driver.get(address + page)
    WebDriverWait(driver, 30).until(lambda driver: driver.execute_script("return document.readyState") == "complete")
    assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_answers_are_hidden_until_asked_for(address, driver):
    driver.get(address + "notebooks/02_three_locks.html")
    answers = driver.find_elements("css selector", "details")
    assert len(answers) == 3
    for answer in answers:
        hidden = answer.find_element("css selector", "p")
        assert not hidden.is_displayed()
        driver.execute_script("arguments[0].open = true", answer)
        assert hidden.is_displayed()


def test_the_cheat_sheet_takes_two_pages_of_paper(address, driver):
    driver.get(address + "book/guide/cheatsheet.html")
    driver.execute_async_script(SETTLED)
    printed = b64decode(driver.print_page(PrintOptions()))
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2


def test_lessons_can_be_downloaded_and_run(address, driver):
    driver.get(address + "notebooks/03_an_error_gradient_that_arrives_late.html")
    links = {link.text: link.get_attribute("href") for link in driver.find_elements("css selector", ".launch a")}
    assert list(links) == ["Download the notebook"]
    assert not is_broken(links["Download the notebook"])
    found = ways_to_run("notebooks/03_x", 1, "owner/na<me")
    assert "mybinder.org/v2/gh/owner/na&lt;me/HEAD?labpath=notebooks/03_x.ipynb" in found
    assert "colab.research.google.com/github/owner/na&lt;me/blob/HEAD/notebooks/03_x.ipynb" in found


def test_exercises_are_those_that_students_get():
    for name in ASSIGNMENTS:
        student = student_version(notebook(text_of(name)))
        text = json.dumps(student)
        assert "SOLUTION" not in text
        assert "HIDDEN" not in text
        assert text.count("# YOUR CODE HERE") == json.dumps(notebook(text_of(name))).count("BEGIN SOLUTION")
        for cell in student["cells"]:
            if cell["cell_type"] == "code":
                compile("".join(cell["source"]), name, "exec")
