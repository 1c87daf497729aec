"""The report in a real browser: what it shows, what it does not do, how it fits and prints."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from napari_spotmix.io import make_recipe, write_outputs
from napari_spotmix.output.report import joint_report, write_report
from tests.output.report.sections import HOSTILE, a_section

#: No window, nothing kept, nothing asked of the network.
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
)
PAGES = ["section", "joint"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Chromium for all tests, with a profile of its own."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, found in programs.items() if found is None]:
        pytest.skip(f"there is no {' and no '.join(missing)} on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a section with hostile names, and that of two sections of which one failed."""
    folder = tmp_path_factory.mktemp("reports")
    result = a_section()
    files = [{"name": f"{HOSTILE[2]}.h5", "bytes": 1234567, "sha256": "0f" * 32}]
    recipe = make_recipe({"spatial": {"path": HOSTILE[1], "files": files}}, result.parameters)
    write_outputs(folder / "a", adata=result.to_anndata(), proportions=result.proportions, recipe=recipe)
    section = write_report(folder / "a")
    joint = folder / "joint.html"
    joint.write_text(joint_report({HOSTILE[0]: folder / "a"}, {HOSTILE[1]: HOSTILE[2]}, home=folder))
    return {"section": section, "joint": joint}


def opened(browser: Any, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
    """Open a page in a window of that width, under its own colors."""
    scheme_of = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme_of)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())


def requested(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_itself_asks_for_nothing_and_is_not_taken_over(
    browser: Any, pages: dict[str, Path], name: str
) -> None:
    opened(browser, pages[name])
    assert browser.title != "hacked"
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    asked = requested(browser)
    assert pages[name].as_uri() in asked
    assert [url[:60] for url in asked if url != pages[name].as_uri() and not url.startswith("data:")] == []
    count = "return document.querySelectorAll(arguments[0]).length"
    assert browser.execute_script(count, "script, iframe, object, form, b > img, [onerror]") == 0
    assert browser.execute_script(count, "a[href^='javascript' i]") == 0
    text = browser.execute_script("return document.body.textContent")
    assert [words for words in HOSTILE if words.replace("\u202e", "\\u202e") not in text] == []


def test_every_picture_of_a_page_is_drawn(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["section"])
    broken = browser.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.querySelectorAll('image')].map(one => { const picture = new Image();"
        "picture.src = one.href.baseVal; return picture.decode().then(() => null, () => one.outerHTML); }))"
        ".then(all => done([all.length, all.filter(one => one)]))"
    )
    assert broken == [len(HOSTILE) + 4, []]
    shot = browser.find_element("css selector", ".large .map").screenshot_as_png
    assert len(shot) > 5000


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_a_page_fits_its_window(browser: Any, pages: dict[str, Path], name: str, width: int) -> None:
    opened(browser, pages[name], width=width)
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") == width


#: Texts whose color has too little contrast to what is below: WCAG's ratio, 4.5 at least.
FAINT = """
const parts = color => color.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(one => one / 255)
  .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
  .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
const ground = element => {
  for (let one = element; one; one = one.parentElement) {
    const color = parts(getComputedStyle(one).backgroundColor);
    if (color.length < 4 || color[3] === 1) return color;
  }
  return parts(getComputedStyle(document.documentElement).backgroundColor);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let seen = 0;
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || element.closest('svg') || !element.checkVisibility()) continue;
  seen += 1;
  const colors = [parts(getComputedStyle(element).color), ground(element)];
  const [less, more] = colors.map(light).sort((one, other) => one - other);
  const ratio = (more + 0.05) / (less + 0.05);
  if (ratio < 4.5) found.push(walker.currentNode.data + ' ' + ratio);
}
return [seen, found];
"""


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    opened(browser, pages[name], scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    seen, faint = browser.execute_script(FAINT)
    assert seen > 20
    assert faint == []


#: What cannot be told by ear: pictures without words, headers of nobody knows what, links to nowhere.
UNSAID = """
const all = selector => [...document.querySelectorAll(selector)];
const name = one => one.getAttribute('role') === 'img' && one.getAttribute('aria-label');
const goal = one => one.getAttribute('aria-labelledby') || one.getAttribute('href').slice(1);
return [
  ...(document.documentElement.lang === 'en' ? [] : ['no language']),
  ...all('svg:not([aria-hidden])').filter(one => !name(one)).map(one => one.outerHTML),
  ...all('th:not([scope])').map(one => one.outerHTML),
  ...all('[aria-labelledby], a[href^="#"]').map(goal).filter(id => all('#' + id).length !== 1),
  ...all('[tabindex]:not([tabindex="0"])').map(one => one.outerHTML),
];
"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_without_seeing_it(browser: Any, pages: dict[str, Path], name: str) -> None:
    opened(browser, pages[name])
    levels = browser.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert browser.execute_script(UNSAID) == []


def printed(browser: Any) -> list[bytes]:
    """Return what is drawn on each page of the printed report, as PDF's operators."""
    answer = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    pdf = base64.b64decode(answer["data"])
    objects = dict(re.findall(rb"(\d+) 0 obj\s*(.*?)endobj", pdf, re.DOTALL))
    pages = [body for body in objects.values() if re.search(rb"/Type\s*/Page\b", body)]
    drawn = []
    for body in pages:
        content = re.search(rb"/Contents (\d+) 0 R", body)
        assert content is not None
        stream = re.search(rb"stream\r?\n(.*)\r?\nendstream", objects[content[1]], re.DOTALL)
        assert stream is not None
        drawn.append(zlib.decompress(stream[1]))
        assert b"/MediaBox [0 0 594.95" in body or b"/MediaBox [0 0 595" in body, "A4"
    return drawn


def test_a_report_is_printed_on_few_pages_of_which_none_is_empty(
    browser: Any, pages: dict[str, Path]
) -> None:
    opened(browser, pages["section"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    drawn = printed(browser)
    assert 3 <= len(drawn) <= 9
    assert [at for at, page in enumerate(drawn) if page.count(b"Tj") + page.count(b"TJ") < 5] == []
