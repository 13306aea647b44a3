"""The built book in a browser: formulas set, figures loaded, links good, no error, nothing fetched from outside.

`make browser` builds the book first. Skipped only where there is no Chromium.
"""

import json
import threading
from collections.abc import Iterator
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "build" / "book"
PAGES = sorted(str(path.relative_to(BOOK)) for path in BOOK.rglob("*.html") if path.parts[len(BOOK.parts)] != "_static")
BROWSER, DRIVER = which("chromium"), which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium here: apt-get install chromium chromium-driver"
)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
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


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(BOOK)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


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
    assert not is_broken("http://127.0.0.1/book/index.html#how-to-read-this")


@needs_browser
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


@needs_browser
def test_formulas_and_figures_are_there_to_be_looked_at(address, driver):
    driver.get(address + "notebooks/01_backpropagation_by_hand.html")
    state = driver.execute_async_script(SETTLED)
    assert state["formulas"] > 5
    assert driver.execute_script("return document.querySelectorAll('.cell_output img').length") > 1
