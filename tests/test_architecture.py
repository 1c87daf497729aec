"""The arrows between the parts of the package, and what may be loaded when."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Modules that only a window needs.
WINDOW = {"napari", "magicgui", "qtpy", "superqt", "vispy", "PyQt5", "PyQt6", "PySide2", "PySide6"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own: what this one has loaded must not count."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)


def loaded_by(code: str, depth: int = 1) -> set[str]:
    """Return the modules loaded once `code` has run, by the first `depth` parts of their names."""
    names = f"{{'.'.join(name.split('.')[:{depth}]) for name in sys.modules}}"
    report = f"import json, sys; print('\\n' + json.dumps(sorted({names})))"
    done = run("-c", f"{code}\n{report}")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_imports_follow_the_arrows() -> None:
    done = run("-c", "from importlinter.cli import lint_imports_command as command; command()", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_importing_the_package_loads_neither_a_window_nor_a_compiler() -> None:
    loaded = loaded_by("import napari_spotmix")
    assert "napari_spotmix" in loaded
    assert not loaded & (WINDOW | {"numba", "llvmlite", "anndata", "pandas", "matplotlib"})


def test_importing_a_result_loads_neither_a_compiler_nor_readers_of_files() -> None:
    loaded = loaded_by("from napari_spotmix.result import Result, read_result", depth=2)
    assert "napari_spotmix.result" in loaded
    heavy = {
        "numba",
        "llvmlite",
        "matplotlib",
        "scipy.spatial",
        "anndata",
        "zarr",
        "h5py",
        "tifffile",
        "dask",
    }
    assert not loaded & (heavy | WINDOW | {"napari_spotmix.io", "napari_spotmix.model"})


@pytest.mark.parametrize(
    "code",
    [
        "from napari_spotmix.output.figure import draw, save\nsave(draw(result, 'pies'), folder / 'a.png')",
        "from napari_spotmix import export; export(result, folder / 'a.csv')",
    ],
)
def test_what_shows_a_result_from_a_file_loads_no_compiler(code: str, tmp_path: Path) -> None:
    loaded = loaded_by(
        "from pathlib import Path\n"
        "from napari_spotmix import read_result\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"result = read_result({str(ROOT / 'tests' / 'frozen' / 'result.h5ad')!r})\n"
        f"{code}\n"
        "assert list(folder.iterdir())"
    )
    assert "anndata" in loaded
    assert not loaded & (WINDOW | {"numba", "llvmlite"})


def test_help_of_the_command_line_loads_neither_a_window_nor_a_compiler() -> None:
    loaded = loaded_by(
        "import sys; from napari_spotmix.cli import main\n"
        "sys.argv = ['spotmix', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert "napari_spotmix" in loaded
    assert not loaded & (WINDOW | {"numba", "llvmlite", "pyarrow", "spatialdata", "dask", "matplotlib"})


def test_deconvolving_needs_no_window() -> None:
    loaded = loaded_by(
        "from napari_spotmix import deconvolve, simulate\n"
        "tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, random_state=1)\n"
        "deconvolve(tissue.spatial, tissue.reference)"
    )
    assert "numba" in loaded
    assert not loaded & WINDOW


def test_every_public_name_can_be_imported() -> None:
    import napari_spotmix

    for name in napari_spotmix.__all__:
        assert getattr(napari_spotmix, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = napari_spotmix.nothing
    assert dir(napari_spotmix) == sorted([*napari_spotmix.__all__, "__version__"])


def test_types_of_the_public_names_are_known_from_where_they_are_loaded() -> None:
    """What a type checker imports is what is loaded when a name is first used."""
    import napari_spotmix

    source = ast.parse((ROOT / "src" / "napari_spotmix" / "__init__.py").read_text(encoding="utf-8"))
    (typing_only,) = (node for node in source.body if isinstance(node, ast.If))
    found = {
        name.name: line.module
        for line in typing_only.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }
    assert found == {name: f"napari_spotmix.{home}" for name, home in napari_spotmix._HOME.items()}
    assert sorted(found) == sorted(napari_spotmix.__all__)


def test_every_package_that_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    declared = {re.split(r"[^\w-]", line)[0].lower() for line in [*project["dependencies"], *extras]}
    homes = packages_distributions()
    source = ROOT / "src" / "napari_spotmix"
    imported = {name for path in source.rglob("*.py") for name in imported_by(path)} - sys.stdlib_module_names
    undeclared = {
        name
        for name in imported - {"napari_spotmix"}
        if not declared & {home.lower().replace("_", "-") for home in homes.get(name, [name])}
    }
    assert not undeclared


def imported_by(path: Path) -> Iterator[str]:
    """Yield the top-level modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
