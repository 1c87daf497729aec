"""The site that `make site` builds from the pages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import napari_spotmix

ROOT = Path(__file__).parents[1]
NEEDED = ("sphinx", "myst_parser", "sphinx_book_theme", "sphinx_copybutton", "mathjax")
if missing := [name for name in NEEDED if find_spec(name) is None]:
    pytest.skip(f"needs the dependency group docs: no {', '.join(missing)} here", allow_module_level=True)

SOURCES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *(ROOT / "docs").rglob("*.md"),
]
PAGES = [path.relative_to(ROOT).with_suffix(".html").as_posix() for path in SOURCES]


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of `root` with the options of the Makefile."""
    (recipe,) = re.findall(r"-m sphinx (.*?) \. site$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    options = [str(out / "doctrees") if word == "build/doctrees" else word for word in recipe.split()]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(out / "site")]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


class Page(HTMLParser):
    """What a page loads, where it links to, and what can be linked in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.downloads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        self.loads += [given[name] for name in ("src", "data", "srcset", "poster") if name in given]
        if tag == "link" and given.get("rel") not in ("canonical", "search", "next", "prev", "index"):
            self.loads.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
            self.downloads += [given["href"]] if "download" in given else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {name: Page(site / name) for name in [*PAGES, "index.html", "search.html", "genindex.html"]}


def test_every_page_is_in_the_navigation_of_the_first(pages: dict[str, Page]) -> None:
    linked = {link.partition("#")[0] for link in pages["index.html"].links}
    assert set(PAGES) - {"README.html"} <= linked


def test_no_page_loads_anything_from_the_network(site: Path, pages: dict[str, Page]) -> None:
    remote = re.compile(r"(https?:)?//")
    loads = {(name, load) for name, page in pages.items() for load in page.loads}
    assert len(loads) > len(pages)
    assert not {(name, load) for name, load in loads if remote.match(load)}
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert "@font-face" in styles
    targets = re.findall(r"url\(\s*['\"]?([^)'\"]+)|@import\s+['\"]([^'\"]+)", styles)
    assert not [target for pair in targets for target in pair if remote.match(target)]


def test_what_a_page_loads_is_part_of_the_site(site: Path, pages: dict[str, Page]) -> None:
    loads = {(name, load) for name, page in pages.items() for load in page.loads if load[:5] != "data:"}
    lost = [pair for pair in loads if not place(site, *pair).is_file()]
    assert not lost


def test_every_link_within_the_site_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    links = {(name, link) for name, page in pages.items() for link in page.links if not urlsplit(link).scheme}
    assert len(links) > 1000
    assert not [pair for pair in links if not leads_somewhere(site, pages, *pair)]


def leads_somewhere(site: Path, pages: dict[str, Page], name: str, link: str) -> bool:
    target, anchor = place(site, name, link), unquote(urlsplit(link).fragment)
    page = pages.get(target.relative_to(site).as_posix())
    return target.is_file() and (not anchor or page is None or anchor in page.anchors)


def place(site: Path, name: str, link: str) -> Path:
    """Return the file that a link in a page leads to."""
    path = unquote(urlsplit(link).path)
    return (site / name).parent.joinpath(path).resolve() if path else site / name


def test_every_public_name_has_an_entry_with_its_documentation(site: Path, pages: dict[str, Page]) -> None:
    api = "docs/reference/api.html"
    assert {f"napari_spotmix.{name}" for name in napari_spotmix.__all__} <= pages[api].anchors
    text = (site / api).read_text(encoding="utf-8")
    for name in napari_spotmix.__all__:
        summary = (getattr(napari_spotmix, name).__doc__ or "").strip().split()[:3]
        assert summary
        assert " ".join(summary) in text, name


def test_a_formula_is_drawn_by_a_script_of_the_site(pages: dict[str, Page]) -> None:
    assert any("_static/tex-svg-full.js" in load for load in pages["docs/reference/api.html"].loads)


def test_the_report_opens_and_is_not_downloaded(site: Path, pages: dict[str, Page]) -> None:
    page, report = "docs/how-to/report.html", "docs/report/simulated.html"
    assert site / report in {place(site, page, link) for link in pages[page].links}
    assert (site / report).read_bytes() == (ROOT / report).read_bytes()
    assert not [link for page in pages.values() for link in page.downloads]


FORMULA = r'''
def {name}(x):
    """Square a number.

    Parameters
    ----------
    x : float
        Number; `{name}` does not round it.

    Notes
    -----
    After [1]_, with a remark of [2]_:

    .. math:: y = x^2

    References
    ----------
    .. [1] Euclid, Elements {name}.
    .. [2] Nobody.
    """
'''


def a_small_root(folder: Path) -> Path:
    """Make a folder with the settings of the site and two pages."""
    root = folder / "root"
    shutil.copytree(ROOT / "docs" / "theme", root / "docs" / "theme")
    for name in ("conf.py", "site_extension.py"):
        shutil.copy(ROOT / "docs" / name, root / "docs")
    (root / "README.md").write_text("# Start\n\n[The pages](docs/README.md)\n")
    (root / "docs" / "README.md").write_text("# Pages\n\n**Look up**\n\n- [API](reference/api.md)\n")
    (root / "docs" / "reference").mkdir()
    (root / "docs" / "reference" / "api.md").write_text("# API\n")
    return root


def test_formulas_and_references_of_several_docstrings_stand_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = a_small_root(tmp_path)
    package = root / "src" / "napari_spotmix"
    package.mkdir(parents=True)
    functions = "".join(FORMULA.replace("{name}", name) for name in ("square", "power"))
    (package / "__init__.py").write_text(f"__all__ = ['square', 'power']\n{functions}")
    monkeypatch.setenv("PYTHONPATH", str(root / "src"))
    done = build(root, tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "site" / "docs" / "reference" / "api.html").read_text(encoding="utf-8")
    assert text.count(r"\[y = x^2\]") == 2
    assert text.count("After [1], with a remark of [2]:") == 2
    items = re.findall(r"<li><p>(.*?)</p></li>", text)
    assert items[-4:] == ["Euclid, Elements square.", "Nobody.", "Euclid, Elements power.", "Nobody."]


def test_a_broken_link_and_a_page_outside_of_the_navigation_fail_the_build(tmp_path: Path) -> None:
    root = a_small_root(tmp_path)
    (root / "docs" / "README.md").write_text("# Pages\n\n**Do**\n\n- [One](one.md)\n")
    (root / "docs" / "one.md").write_text("# One\n\nSee [two](two.md#nowhere) and [three](three.md).\n")
    (root / "docs" / "reference" / "api.md").unlink()
    (root / "docs" / "two.md").write_text("# Two\n")
    done = build(root, tmp_path)
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 3, done.stderr
    assert [any(word in line for line in warnings) for word in ("nowhere", "three", "two.md: WARNING")]
