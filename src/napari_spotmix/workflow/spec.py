"""What a run is: which files, how they are read, with which parameters, and where the results go.

A `RunSpec` is the one description of a run. Everything else is made from it or read into it:

=======================================  ==============================================
``recipe.toml``                          `workflow.recipe`
``spotmix run ...``, Python              `workflow.codegen`
a row of a samplesheet                   `workflow.cohort.sheet`
JSON for the process that runs a row     `workflow.convert`
=======================================  ==============================================

To add an option, add a field here, an option in ``cli/_run.py``, and, if it is for reading, a field of
`io.ReadOptions`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.urls import is_url
from napari_spotmix.params import Parameters, current_names

if TYPE_CHECKING:
    from napari_spotmix.io import ReadOptions

__all__ = ["Location", "RunSpec", "changed", "is_further_reference", "location_of", "spec_of", "with_values"]

#: A file or folder, or a URL (`base.urls.is_url`).
Location = Path | str

_DEFAULTS = Parameters()

_FURTHER = re.compile(r"reference_\d+")


@dataclass(frozen=True)
class RunSpec:
    """One run. Nothing has been read yet.

    Attributes
    ----------
    spatial, reference : Path or str, optional
        As `read_spatial` and `read_reference` take them, or a URL. None for data that are not files.
    output : Path, optional
        Folder for the results; None writes nothing.
    cell_type_key, layer, library_key
        As `deconvolve` takes them.
    format, bin_um, image, coordinates, gem_bin, table, section
        As `read_spatial` takes them.
    report : bool
        Whether to write ``report.html`` too.
    labels : Path, optional
        Table of cells and their types, as `read_reference` takes it.
    more_references : tuple of Path
        References that are joined with the first.
    fix : tuple of str
        Fixes of the data after they were read, as `dataset.fixes` writes them.
    parameters : Parameters
        Those of the model.

    Examples
    --------
    >>> spec = RunSpec(Path("outs"), Path("cells.h5ad"), layer="counts", parameters=Parameters(lambda_c=0.3))
    >>> spec.settings
    {'cell_type_key': 'cell_type', 'layer': 'counts', 'library_key': None}
    """

    spatial: Location | None = None
    reference: Location | None = None
    output: Path | None = None
    cell_type_key: str = CELL_TYPE
    layer: str | None = None
    library_key: str | None = None
    format: str | None = None
    bin_um: float | None = None
    image: Location | None = None
    coordinates: Location | None = None
    gem_bin: int | None = None
    table: str | None = None
    section: str | None = None
    report: bool = True
    labels: Location | None = None
    more_references: tuple[Location, ...] = ()
    fix: tuple[str, ...] = ()
    parameters: Parameters = _DEFAULTS

    @property
    def inputs(self) -> dict[str, Location]:
        """What is read, by role; `with_inputs` takes it back."""
        further = {f"reference_{n}": path for n, path in enumerate(self.more_references, start=2)}
        own = {"spatial": self.spatial, "reference": self.reference, **further}
        own |= {role: getattr(self, role) for role in ("image", "coordinates", "labels")}
        return {role: path for role, path in own.items() if path is not None}

    def with_inputs(self, inputs: Mapping[str, Location]) -> RunSpec:
        """Return the run of other files, given by role; what has no role among them stays.

        Examples
        --------
        >>> spec = RunSpec(Path("outs"), Path("a.h5ad"), more_references=(Path("b.h5ad"),))
        >>> spec.with_inputs({"reference_2": Path("c.h5ad")}).more_references[0].name
        'c.h5ad'
        """
        whole: dict[str, Any] = {**self.inputs, **inputs}
        further = sorted(filter(is_further_reference, whole), key=lambda role: int(role.partition("_")[2]))
        more = tuple(whole.pop(role) for role in further)
        return replace(self, **whole, more_references=more)

    @property
    def references(self) -> list[Location]:
        """All references, that are joined if there are several."""
        return [one for one in (self.reference, *self.more_references) if one is not None]

    @property
    def settings(self) -> dict[str, Any]:
        """How the data are used, as keywords of `deconvolve`."""
        return {"cell_type_key": self.cell_type_key, "layer": self.layer, "library_key": self.library_key}

    @property
    def reading(self) -> ReadOptions:
        """How the spots are read."""
        from napari_spotmix.io import ReadOptions  # with all of io, which help texts do not need

        return ReadOptions(**{item.name: getattr(self, item.name) for item in fields(ReadOptions)})


def is_further_reference(role: str) -> bool:
    """Whether a role is that of a reference that is joined with the first.

    Examples
    --------
    >>> is_further_reference("reference_2"), is_further_reference("reference")
    (True, False)
    """
    return _FURTHER.fullmatch(role) is not None


def location_of(text: str) -> Location:
    """Return what was typed as a path, or as it is if it is a URL.

    Examples
    --------
    >>> location_of("https://example.org/cells.h5ad")
    'https://example.org/cells.h5ad'
    """
    return text if is_url(text) else Path(text)


def with_values(spec: RunSpec, values: Mapping[str, Any]) -> RunSpec:
    """Return a run with some of its fields and parameters changed, all by name.

    Raises
    ------
    InputError
        All names that are unknown, and all parameters that are out of bounds.

    Examples
    --------
    >>> with_values(RunSpec(), {"layer": "raw", "lambda_c": 0.3}).parameters.lambda_c
    0.3
    """
    own = {item.name for item in fields(RunSpec)} - {"parameters"}
    current = current_names(values)
    parameters = {name: value for name, value in current.items() if name not in own}
    if unknown := sorted(parameters.keys() - spec.parameters.as_dict().keys()):
        raise InputError([f"`{name}` is not an option of a run. Check its spelling." for name in unknown])
    rest: dict[str, Any] = {name: value for name, value in current.items() if name in own}
    return replace(spec, **rest, parameters=replace(spec.parameters, **parameters))


def spec_of(values: Mapping[str, Any]) -> RunSpec:
    """Return the run with these values, by name, and defaults for the others; see `with_values`."""
    return with_values(RunSpec(), values)


def changed(settings: RunSpec | Parameters) -> dict[str, Any]:
    """Return the fields that are not at their defaults, in order.

    Examples
    --------
    >>> changed(Parameters(lambda_c=0.3))
    {'lambda_c': 0.3}
    """
    values = {item.name: (getattr(settings, item.name), item.default) for item in fields(settings)}
    return {name: value for name, (value, default) in values.items() if value != default}
