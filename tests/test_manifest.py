"""The manifest, as napari finds it after each way of installing the package."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

pytest.importorskip("npe2", reason="npe2 comes with the viewer's test dependencies")

from npe2 import PluginManifest

ROOT = Path(__file__).parents[1]
NAME = "napari-spotmix"


def build(kind: str, project: Path, folder: Path) -> Path:
    """Build a ``wheel`` or an ``sdist`` of `project` with its own backend, and return the file."""
    code = f"import sys; from hatchling.build import build_{kind}; print(build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(folder)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("needs the source of the package")
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return project


@pytest.fixture(scope="module", params=["source", "sdist"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel puts into site-packages."""
    project = ROOT if request.param == "source" else request.getfixturevalue("unpacked")
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("wheel", project, folder)) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_installed_package_names_its_manifest() -> None:
    manifest = PluginManifest.from_distribution(NAME)
    assert manifest.name == distribution(NAME).metadata["Name"]
    assert manifest.contributions.widgets
    assert manifest.contributions.readers
    assert manifest.contributions.sample_data


def test_a_wheel_holds_one_valid_manifest_and_its_entry_point(installed: Path) -> None:
    (found,) = installed.rglob("napari.yaml")
    assert found == installed / "napari_spotmix" / "napari.yaml"
    assert not found.is_symlink()
    assert found.read_text(encoding="utf-8") == (ROOT / "napari.yaml").read_text(encoding="utf-8")
    assert PluginManifest.from_file(found).name == NAME
    entry_points = next(installed.glob("*.dist-info/entry_points.txt")).read_text(encoding="utf-8")
    assert f"{NAME} = napari_spotmix:napari.yaml" in entry_points


def test_a_wheel_holds_the_whole_package_and_nothing_else(installed: Path) -> None:
    source = ROOT / "src" / "napari_spotmix"
    expected = {path.relative_to(source) for path in source.rglob("*.py")}
    package = installed / "napari_spotmix"
    assert {path.relative_to(package) for path in package.rglob("*.py")} == expected
    assert (package / "py.typed").exists()
    assert {path.name.split("-")[0] for path in installed.iterdir()} == {"napari_spotmix"}


def test_the_source_archive_holds_no_data_and_no_build(unpacked: Path) -> None:
    assert (unpacked / "napari.yaml").exists()
    assert (unpacked / "tests" / "test_manifest.py").exists()
    assert not [path for path in unpacked.rglob("*") if path.suffix in {".h5", ".pyc"}]
    # Only what this package has made itself, to be opened by later versions.
    assert {path.parent.name for path in unpacked.rglob("*.h5ad")} <= {"frozen"}


@pytest.mark.viewer
def test_every_command_of_the_manifest_can_be_imported() -> None:
    manifest = PluginManifest.from_distribution(NAME)
    commands = manifest.contributions.commands or []
    assert commands
    for command in commands:
        module, attribute = str(command.python_name).split(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_every_contribution_calls_a_command_that_exists() -> None:
    contributions = PluginManifest.from_distribution(NAME).contributions
    known = {command.id for command in contributions.commands or []}
    called = [
        item.command
        for items in (contributions.readers, contributions.widgets, contributions.sample_data)
        for item in items or []
    ]
    assert called
    assert set(called) <= known
