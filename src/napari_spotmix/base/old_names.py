"""Names that were public before, and where they are now: they keep working, with a `DeprecationWarning`.

An import hook finds the modules that were moved. Python asks it only for what it finds nowhere else, so it
costs nothing otherwise. After a renaming, ``tests/test_old_names.py`` lists what is no longer found. Add

* for a module that was moved, a line to `MODULES`;
* for its functions, classes and constants that were renamed, lines to `NAMES`;
* for those of a module that keeps its name, ``__getattr__ = names_of_before(__name__, {...})`` in it;
* for a method, ``old = Renamed("new")`` in its class.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MODULES", "NAMES", "Renamed", "install", "names_of_before"]

_PACKAGE = "napari_spotmix"

#: Where modules are now, by their former names. A module that was split is in the first of several, which may
#: be names of `NAMES` too.
MODULES: Mapping[str, tuple[str, ...]] = {
    "checks": ("dataset.validation", "dataset.access"),
    "cohort": ("workflow.cohort",),
    "colors": ("base.colors",),
    "cores": ("base.cores",),
    "cost": ("dataset.cost",),
    "errors": ("base.errors",),
    "exchange": ("output.exporters",),
    "figure": ("output.figure", "output.scene"),
    "findings": ("dataset.diagnostics",),
    "job": ("workflow.former",),
    "keys": ("base.keys",),
    "mends": ("dataset.fixes", "workflow.provenance"),
    "pipeline": ("workflow.deconvolve",),
    "placing": ("dataset.registration",),
    "progress": ("base.progress",),
    "regions": ("dataset.regions",),
    "report": ("output.report",),
    "rerun": ("workflow.rerun",),
    "rows": ("dataset.matrix_blocks",),
    "scale": ("dataset.geometry", "dataset.access"),
    "script": ("workflow.codegen",),
    "words": ("base.text",),
}

#: What functions, classes and constants are called now, by the former name of their module.
NAMES: Mapping[str, Mapping[str, str]] = {
    "figure": {"Region": "Crop", "Scene": "FigureScene"},
    "findings": {"look": "diagnose", "look_at_files": "diagnose_files"},
    "mends": {
        "MENDS": "FIXES",
        "Mend": "Fix",
        "all_parsed": "parse_fixes",
        "kept_with": "with_fixes",
        "mended": "apply_fixes",
        "parsed": "parse_fix",
    },
    "scale": {"scalefactors": "scale_factors"},
}


class Renamed:
    """An attribute of a class under its former name: the same as the new one, with a warning.

    Parameters
    ----------
    new : str
        Its name now.

    Examples
    --------
    >>> class Spot:
    ...     size = Renamed("diameter")
    ...     diameter = 55
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     Spot().size
    55
    """

    def __init__(self, new: str) -> None:
        self._new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = f"{owner.__name__}.{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        _warn(self._old, f"{owner.__name__}.{self._new}")
        return getattr(owner if instance is None else instance, self._new)


def names_of_before(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module whose contents were renamed.

    Parameters
    ----------
    module : str
        Its ``__name__``.
    names : mapping of str to str
        Names of today by former names: of the module itself or, as "module.name", of another one.

    Examples
    --------
    >>> get = names_of_before("napari_spotmix.io", {"Stage": "base.progress.Progress"})
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     get("Stage").__name__
    'Progress'
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        home = f"{_PACKAGE}.{home}" if home else module
        _warn(f"{module}.{name}", f"{home}.{new}")
        return getattr(import_module(home), new)

    return get


def install() -> None:
    """Let old modules be imported; once, however often it is called."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())


class _OldModules:
    """Finds the modules of `MODULES`.

    Without the base classes of importlib: their import would take half of that of the package.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != _PACKAGE or name not in MODULES:
            return None
        is_package = any(other.startswith(f"{name}.") for other in MODULES)
        return ModuleSpec(fullname, self, is_package=is_package)  # type: ignore[arg-type]  # typeshed wants the base class

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _OldModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        if MODULES[name]:
            _warn(module.__name__, f"{_PACKAGE}.{MODULES[name][0]}")


class _OldModule(ModuleType):
    """A module that takes everything from where it is now."""

    def __getattr__(self, name: str) -> Any:
        old = self.__name__.partition(".")[2]
        new = NAMES.get(old, {}).get(name, name)
        for home in MODULES[old] if not name.startswith("__") or name == "__all__" else ():
            module = import_module(f"{_PACKAGE}.{home}")
            if hasattr(module, new):
                if new != name:
                    _warn(f"{self.__name__}.{name}", f"{module.__name__}.{new}")
                return getattr(module, new)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _warn(old: str, new: str) -> None:
    """Warn whoever called the function that calls this one."""
    text = f"{old} is now called {new}. Use the new name."
    warnings.warn(text, DeprecationWarning, stacklevel=3)
