"""What `make release-check` finds, and README as a package index gets it."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def check() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / ".ci" / "release_check.py"))


@pytest.fixture(scope="module")
def description(check: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The long description in a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return check["description_of"](next(folder.glob("*.whl")))


def test_the_long_description_is_readme_with_its_links_into_the_repository(description: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    base = f"{project['urls']['Source']}/(?:raw|blob)/v{re.escape(project['version'])}/"
    assert re.sub(rf"\]\({base}", "](", description).strip() == readme.strip()
    assert f"]({project['urls']['Source']}/raw/v{project['version']}/docs/pictures/demo.png)" in description


def test_the_long_description_passes_its_check(check: dict[str, Any], description: str) -> None:
    pytest.importorskip("readme_renderer", reason="needs the dependency group release")
    check["check_description"](description, ROOT)


def test_relative_links_and_links_to_files_that_are_gone_fail(check: dict[str, Any]) -> None:
    pytest.importorskip("readme_renderer", reason="needs the dependency group release")
    forge = "https://forge.example/spotmix"
    text = f"![Map](docs/map.png) [All]({forge}/blob/v1/docs/gone.md#part) [Fine]({forge}/blob/v1/LICENSE)"
    with pytest.raises(
        Exception, match=r"docs/map\.png is relative; docs/gone\.md is not in the repository$"
    ):
        check["check_description"](text, ROOT)


def test_a_picture_that_shows_nothing_fails(check: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Exception, match="wrote no picture"):
        check["check_picture"](tmp_path / "none.png")
    picture = np.zeros((200, 300, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "empty.png")
    with pytest.raises(Exception, match="looks empty: 1 colors, 100% are one"):
        check["check_picture"](tmp_path / "empty.png")
    picture[:, 120:] = np.random.default_rng(0).integers(0, 256, (200, 180, 3))
    Image.fromarray(picture).save(tmp_path / "tissue.png")
    check["check_picture"](tmp_path / "tissue.png")


def test_what_is_open_before_a_release_is_listed(check: dict[str, Any], tmp_path: Path) -> None:
    write(
        tmp_path,
        address="https://repository.invalid/spotmix",
        changelog="## [Unreleased]\n\n- More\n\n## [1.2.0]\n\n- New\n",
        citation="version: 1.1.0\n",
    )
    assert [line.partition(":")[0] for line in check["open_points"](tmp_path)] == [
        "pyproject.toml",
        *["CITATION.cff"] * 3,
        *["CHANGELOG.md"] * 2,
        "git",
    ]


def test_nothing_but_the_tag_is_open_where_all_is_done(check: dict[str, Any], tmp_path: Path) -> None:
    address = "https://forge.example/spotmix"
    write(
        tmp_path,
        address=address,
        changelog="## [Unreleased]\n\n## [1.2.0] - 2026-01-31\n\n- New\n",
        citation=f"version: 1.2.0\ndate-released: 2026-01-31\nrepository-code: {address}\n",
    )
    assert [line.partition(":")[0] for line in check["open_points"](tmp_path)] == ["git"]


def write(root: Path, *, address: str, changelog: str, citation: str) -> None:
    project = f'[project]\nversion = "1.2.0"\nurls = {{ Source = "{address}" }}\n'
    (root / "pyproject.toml").write_text(project)
    (root / "CHANGELOG.md").write_text(f"# Changes\n\n{changelog}")
    (root / "CITATION.cff").write_text(citation)
