"""What keeps the house small enough to be drawn from memory: entries, sizes, doors."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "napari_spotmix"
MODULES = sorted(SOURCE.rglob("*.py"))
ROOMS = {
    "analysis",
    "base",
    "cli",
    "dataset",
    "io",
    "model",
    "output",
    "simulation",
    "ui",
    "workflow",
}

MOST_ENTRIES, MOST_LINES, MOST_FUNCTION_LINES = 13, 700, 60
MOST_ARGUMENTS, MOST_KERNEL_ARGUMENTS = 8, 10

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions(path: Path) -> Iterator[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def n_lines(function: Function) -> int:
    """Count the lines of a function without its docstring."""
    first, *_ = function.body
    has_docstring = ast.get_docstring(function) is not None
    of_docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - of_docstring


def n_positional(function: Function) -> int:
    """Count the arguments that may be given by position, without `self`."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return len([name for name in names if name not in ("self", "cls")])


def test_the_package_has_few_entries() -> None:
    entries = {
        path.name for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert len(entries) <= MOST_ENTRIES, sorted(entries)
    assert entries >= ROOMS


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_its_functions_are_short_and_take_few_arguments(path: Path) -> None:
    is_kernel = "kernels" in path.relative_to(SOURCE).parts
    most = MOST_KERNEL_ARGUMENTS if is_kernel else MOST_ARGUMENTS
    long = {one.name: n_lines(one) for one in functions(path) if n_lines(one) > MOST_FUNCTION_LINES}
    wide = {one.name: n_positional(one) for one in functions(path) if n_positional(one) > most}
    assert not long
    assert not wide


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_reached_by_string_and_no_assertion_checks_input(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # The two doors that load lazily, by a table of names.
    if name_of(path) not in ("__init__.py", "base/old_names.py"):
        assert "import_module(" not in text
        assert "sys.modules" not in text


def test_one_name_is_one_thing() -> None:
    homes: dict[str, set[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(name_of(path))
    assert not {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1}


def test_contracts_name_packages_and_every_package_is_checked_for_types() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tools["mypy"]["strict"]
    assert tools["mypy"]["packages"] == ["napari_spotmix"]
    assert "modules" not in tools["mypy"]
    contracts = {one["name"]: one for one in tools["importlinter"]["contracts"]}
    named = {layer.strip() for line in contracts["Arrows point down"]["layers"] for layer in line.split("|")}
    assert named == ROOMS | {"params", "result"}
    for one in contracts.values():
        for name in one.get("source_modules", ()):
            assert name.count(".") <= 1, f"{name} is a module within a room"


PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:[a-z_]+\.)+\w+(?:\.\w+)*)`", PAGE)))


def test_the_page_of_the_house_has_a_line_for_each_room() -> None:
    tree = PAGE.split("```")[3]
    rooms = dict(re.findall(r"^  (\w+)(?:/|\.py) +(\S.*)$", tree, re.MULTILINE))
    assert set(rooms) == ROOMS | {"params", "result"}
    parts = {
        (room, part)
        for room, line in rooms.items()
        for part in re.findall(r"(\w+)/", line)
        if room != "params"
    }
    assert parts
    assert not [f"{room}/{part}" for room, part in parts if not (SOURCE / room / part).is_dir()]


def test_the_page_draws_the_arrows_that_are_checked() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = next(one["layers"] for one in tools["importlinter"]["contracts"] if "layers" in one)
    assert " -> ".join(layers) in PAGE


def test_the_way_of_a_count_has_ten_steps() -> None:
    way = PAGE.split("## The way of a count")[1].split("## ")[0]
    assert re.findall(r"^(\d+)\.", way, re.MULTILINE) == [str(n) for n in range(1, 11)]


@pytest.mark.parametrize("name", [name for name in NAMED if not name.endswith((".py", ".toml"))])
def test_what_the_page_names_exists(name: str) -> None:
    if name.startswith("ui."):
        pytest.importorskip("qtpy", reason="needs Qt")
    parts = name.removeprefix("napari_spotmix.").split(".")
    homes = [SOURCE.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
    depth = max(n for n, home in enumerate(homes) if home.is_dir() or home.with_suffix(".py").exists())
    module = import_module(".".join(["napari_spotmix", *parts[:depth]]))
    reduce(getattr, parts[depth:], module)
