"""What the documentation shows is run, and what it points to is there."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData

from napari_spotmix.base.keys import added_keys
from napari_spotmix.cli import main as run_main
from napari_spotmix.dataset.regions import Region, to_geojson
from napari_spotmix.simulation.simulate import simulate
from tests.cli.commands import spotmix_process
from tests.io.layouts import Section, write_folder, write_hd
from tests.io.layouts_of_others import geo

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return the line and the text of each fenced block in `language`."""
    text = page.read_text(encoding="utf-8")
    found = (match for match in BLOCK.finditer(text) if match[1] == language)
    return [(text[: match.start(2)].count("\n"), match[2]) for match in found]


def commands(page: Path) -> Iterator[str]:
    """Yield the lines typed after "$ " in the console blocks of a page, continued lines joined."""
    for _, text in blocks(page, "console"):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ").split(" #")[0].strip()


def typed(program: str) -> list[str]:
    lines = dict.fromkeys(line for page in PAGES for line in commands(page))
    return [line for line in lines if shlex.split(line)[0] == program]


def is_of(line: str, *names: str) -> bool:
    words = shlex.split(line)
    return words[0] == "spotmix" and words[1] in names


#: Commands that need the run of their page.
FOLLOWS_A_RUN = ("figure", "export", "report", "rerun", "regions", "niches")
PAGES_WITH_A_RUN = [page for page in PAGES if any(is_of(line, *FOLLOWS_A_RUN) for line in commands(page))]
ALREADY_RUN = {line for page in PAGES_WITH_A_RUN for line in commands(page) if is_of(line, "run")}
NEEDS_NO_WINDOW = [
    line
    for line in typed("spotmix")
    if "--help" in line or (is_of(line, "run", "check") and line not in ALREADY_RUN)
]
OPENS_A_WINDOW = [line for line in typed("spotmix") if is_of(line, "view", "demo") and "--help" not in line]


def as_section(adata: AnnData) -> Section:
    """Return simulated spots as the writer of Space Ranger folders takes them."""
    x, y = adata.obsm["spatial"].T
    names = list(adata.var_names)
    return Section(
        counts=adata.X.toarray(),
        barcodes=list(adata.obs_names),
        gene_ids=names,
        symbols=names,
        types=["Gene Expression"] * len(names),
        in_tissue=np.ones(adata.n_obs, int),
        rows_px=y,
        columns_px=x,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages speak of: ``outs``, ``spatial.h5ad``, ``reference.h5ad``, regions, a slide."""
    folder = tmp_path_factory.mktemp("files")
    tissue = simulate(n_spots=120, n_genes=200, n_cell_types=4, random_state=1)
    write_folder(folder / "outs", as_section(tissue.spatial))
    write_hd(folder / "hd" / "outs", (8, 16))
    geo(folder, as_section(tissue.spatial), "GSM6505133_A1")
    tifffile.imwrite(folder / "slide.tif", np.full((64, 64, 3), 200, np.uint8), photometric="rgb")
    tissue.spatial.write_h5ad(folder / "spatial.h5ad")
    tissue.reference.write_h5ad(folder / "reference.h5ad")
    write_references(folder, tissue.reference)
    (folder / "regions.geojson").write_text(to_geojson(halves(tissue.spatial)), encoding="utf-8")
    (folder / "samplesheet.csv").write_text(
        "sample,spatial,reference\nleft,outs,reference.h5ad\nright,spatial.h5ad,reference.h5ad\n"
    )
    return folder


def halves(adata: AnnData) -> list[Region]:
    """Return the left and the right half of a section as regions."""
    low, high = adata.obsm["spatial"].min(axis=0) - 1, adata.obsm["spatial"].max(axis=0) + 1
    middle = (low[0] + high[0]) / 2
    spans = {"Tumor": (low[0], middle), "Stroma": (middle, high[0])}
    return [
        Region(name, np.array([[left, low[1]], [right, low[1]], [right, high[1]], [left, high[1]]]))
        for name, (left, right) in spans.items()
    ]


def write_references(folder: Path, cells: AnnData) -> None:
    """Write a reference in the other ways that a page speaks of."""
    table = pd.DataFrame(cells.X.toarray(), index=cells.obs_names, columns=cells.var_names)
    table.T.to_csv(folder / "dge.csv")
    cells.obs["cell_type"].to_csv(folder / "my_labels.csv")
    table.groupby(cells.obs["cell_type"].to_numpy()).mean().T.to_csv(folder / "signatures.csv")
    cells[::2].copy().write_h5ad(folder / "first.h5ad")
    cells[1::2].copy().write_h5ad(folder / "second.h5ad")


@pytest.fixture
def workplace(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_blocks_of_a_page_run_in_order(page: Path, workplace: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, text in blocks(page, "python"):
        # Empty lines in front keep the numbers of a traceback those of the page.
        exec(compile("\n" * line + text, str(page), "exec"), namespace)


@pytest.mark.parametrize("line", NEEDS_NO_WINDOW, ids=str)
def test_a_command_that_needs_no_window_succeeds(line: str, workplace: Path) -> None:
    done = spotmix_process(*shlex.split(line)[1:], cwd=workplace)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES_WITH_A_RUN, ids=name_of)
def test_what_follows_a_run_succeeds_in_the_order_of_its_page(page: Path, workplace: Path) -> None:
    lines = [line for line in commands(page) if is_of(line, "run", *FOLLOWS_A_RUN)]
    for line in lines:
        run_main(shlex.split(line)[1:])
    written = [shlex.split(line)[-1] for line in lines if is_of(line, "figure")]
    written += [shlex.split(line)[4] for line in lines if is_of(line, "export")]
    written += [
        shlex.split(line)[shlex.split(line).index("--output") + 1]
        for line in lines
        if is_of(line, "regions", "niches") and " --output " in line
    ]
    written += [shlex.split(line)[-1] for line in lines if is_of(line, "report") and " --output " in line]
    assert all(Path(name).exists() for name in written)
    assert len(lines) >= 2


def test_the_report_of_the_simulated_tissue_is_small_and_up_to_date() -> None:
    page = (ROOT / "docs" / "report" / "simulated.html").read_text(encoding="utf-8")
    style = ROOT / "src" / "napari_spotmix" / "output" / "report" / "templates" / "style.css"
    assert style.read_text(encoding="utf-8").strip() in page, "run `make docs`"
    assert len(page) < 1_500_000


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a display is always there")
@pytest.mark.parametrize("line", OPENS_A_WINDOW, ids=str)
def test_a_command_that_opens_a_window_gets_as_far_as_the_display(
    line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "result").mkdir()
    shutil.move(workplace / "spatial.h5ad", workplace / "result")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    done = spotmix_process(*shlex.split(line)[1:], cwd=workplace)
    assert done.returncode == 2
    assert "There is no display" in done.stderr or "needs a Qt library" in done.stderr


def test_every_make_target_that_is_named_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = {line.split()[1] for line in typed("make")}
    assert {"demo", "test"} <= named <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_other_files_resolve(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    broken = [link for link in local if not resolves(page, link)]
    assert not broken


def resolves(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    if not anchor or not target.is_file():
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if "docs" in page.parts], ids=name_of)
def test_every_page_is_reached_from_the_start_page(page: Path) -> None:
    start = ROOT / "docs" / "README.md"
    linked = linked_from(start)
    lists = [path for path in linked if path.name == "README.md" and (ROOT / "docs") in path.parents]
    assert page == start or page in linked.union(*map(linked_from, lists))


def linked_from(page: Path) -> set[Path]:
    return {(page.parent / link).resolve() for link in LINK.findall(page.read_text(encoding="utf-8"))}


def test_the_table_of_parameters_is_up_to_date() -> None:
    maker = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    assert maker["PAGE"].read_text(encoding="utf-8") == maker["parameters_page"](), "run `make docs`"


def test_the_table_of_formats_is_what_comes_of_opening_them(tmp_path: Path) -> None:
    maker = runpy.run_path(str(ROOT / "docs" / "make_formats.py"))
    data = maker["REAL_DATA"]
    if not data.is_dir():
        pytest.skip("needs real files at ../shared/data/formats, not part of the repository")
    assert maker["table"](data, tmp_path) in maker["PAGE"].read_text(encoding="utf-8"), "run `make docs`"
    tried = {case.path.split("/")[0] for case in maker["REAL_CASES"]} - {".."}
    assert tried == {folder.name for folder in data.iterdir() if folder.is_dir()}


def test_every_slot_of_a_result_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "output.md").read_text(encoding="utf-8")
    missing = [slot for slot in added_keys().values() if f"['{slot}']" not in page]
    assert not missing


def test_messages_that_are_explained_are_still_given() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| It says .*\n\|[- |]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    quoted = [row.split("|")[1] for table in tables for row in table.splitlines()]
    assert len(quoted) > 10
    given = "\n".join(text for path in (ROOT / "src").rglob("*.py") for text in texts_of(path))
    gone = [words for row in quoted for words in row.split("…") if words.strip() not in given]
    assert not gone


def texts_of(path: Path) -> Iterator[str]:
    """Yield the strings in a file, with pieces that stand on several lines joined."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "pictures").glob("*.png"))
    assert {"demo.png"} <= {picture.name for picture in pictures}
    assert not [picture.name for picture in pictures if picture.stat().st_size > 400_000]
