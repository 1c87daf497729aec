"""What has been loaded: the tissue, another image of it, and the reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from psygnal import Signal

from napari_spotmix.io.readers.options import DEFAULT, Choices, ReadOptions

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.io import TissueImage

__all__ = ["LoadedInputs", "LoadedData", "LoadedReference", "LoadedTissue"]


@dataclass(frozen=True)
class LoadedTissue:
    """Spatial data and their origin; `path` is None for data that were never a file.

    `reading` holds the options that the file was read with, and `choices` the options that it offers.
    `fixes` were applied since the file was read, and `original` are the data before them.
    """

    adata: AnnData
    name: str
    path: Path | None = None
    reading: ReadOptions = DEFAULT
    choices: Choices = field(default_factory=Choices)
    fixes: tuple[str, ...] = ()
    original: AnnData | None = None

    @property
    def section(self) -> tuple[Path | None, str | None]:
        """The file, and which of its sections."""
        return self.path, self.reading.section

    @property
    def files(self) -> dict[str, Path]:
        """The files that were read, by role, as in `RunSpec.inputs`."""
        paths = {"spatial": self.path, "image": self.reading.image, "coordinates": self.reading.coordinates}
        return {role: path for role, path in paths.items() if path is not None}


@dataclass(frozen=True)
class LoadedReference:
    """Labeled cells, their origin, and the columns that may hold cell types, likeliest first.

    `more` are the files that were joined with the first, `labels` the table that labels were taken from.
    `fixes` were applied since the files were read, and `original` are the data before them.
    """

    adata: AnnData
    name: str
    columns: tuple[str, ...]
    path: Path | None = None
    more: tuple[Path, ...] = ()
    labels: Path | None = None
    fixes: tuple[str, ...] = ()
    original: AnnData | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files that were read, by role, as in `RunSpec.inputs`."""
        paths = (self.path, *self.more)
        named = {f"reference_{n}" if n > 1 else "reference": path for n, path in enumerate(paths, start=1)}
        return {role: path for role, path in (*named.items(), ("labels", self.labels)) if path is not None}


@dataclass(frozen=True)
class LoadedInputs:
    """All that a check or a run needs of what is loaded."""

    tissue: LoadedTissue
    reference: LoadedReference
    cell_type_key: str


class LoadedData:
    """The tissue, the image and the reference of one viewer.

    Signals
    -------
    tissue_changed, image_changed
    reference_changed
        The reference or the column of its labels has changed.
    """

    tissue_changed = Signal()
    image_changed = Signal()
    reference_changed = Signal()

    def __init__(self) -> None:
        self.tissue: LoadedTissue | None = None
        self.image: TissueImage | None = None
        self.reference: LoadedReference | None = None
        self.cell_type_key: str | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files that were read, by role."""
        spatial = {} if self.tissue is None else self.tissue.files
        return spatial | ({} if self.reference is None else self.reference.files)

    @property
    def fixes(self) -> tuple[str, ...]:
        """The fixes by which the data differ from their files."""
        loaded = [one for one in (self.tissue, self.reference) if one is not None]
        return tuple(fix for one in loaded for fix in one.fixes)

    @property
    def inputs(self) -> LoadedInputs | None:
        """What a run needs, or None while something is missing."""
        if self.tissue is None or self.reference is None or self.cell_type_key is None:
            return None
        return LoadedInputs(self.tissue, self.reference, self.cell_type_key)

    def what_is_missing(self) -> str | None:
        """Say what has to be chosen before a run, or None if nothing is missing."""
        if self.tissue is None:
            return "Choose spatial data first."
        if self.reference is None:
            return "Choose a reference first."
        if not self.reference.columns:
            return "The reference has no column of cell types: text with at least two different values."
        if self.cell_type_key is None:
            return "Choose the column with the cell types first."
        return None

    def set_tissue(self, tissue: LoadedTissue) -> None:
        """Take other spots."""
        self.tissue = tissue
        self.image = None
        self.tissue_changed.emit()

    def set_image(self, image: TissueImage) -> None:
        """Take an image in place of the one that came with the spots."""
        self.image = image
        self.image_changed.emit()

    def set_reference(self, reference: LoadedReference) -> None:
        """Take another reference, and its most likely label column."""
        self.reference = reference
        self.cell_type_key = next(iter(reference.columns), None)
        self.reference_changed.emit()

    def set_cell_type_key(self, key: str | None) -> None:
        """Take the labels from another column of the reference."""
        self.cell_type_key = key
        self.reference_changed.emit()

    def set_fixed(self, spatial: AnnData, reference: AnnData, fixes: tuple[str, ...]) -> None:
        """Take data that were fixed; the files, the label column and another image stay as they were."""
        if self.tissue is not None and self.reference is not None:
            self._replace(_fixed(self.tissue, spatial, fixes), _fixed(self.reference, reference, fixes))

    def undo_fixes(self) -> None:
        """Take the data as they were read."""
        if self.tissue is not None and self.reference is not None:
            self._replace(_unfixed(self.tissue), _unfixed(self.reference))

    def _replace(self, tissue: LoadedTissue, reference: LoadedReference) -> None:
        if reference is not self.reference:
            self.reference = reference
            self.reference_changed.emit()
        if tissue is not self.tissue:
            image = self.image
            self.set_tissue(tissue)
            if image is not None:
                self.set_image(image)


_Loaded = TypeVar("_Loaded", LoadedTissue, LoadedReference)


def _fixed(loaded: _Loaded, adata: AnnData, fixes: tuple[str, ...]) -> _Loaded:
    """Return what is loaded with other data, or itself if these are its own."""
    if adata is loaded.adata:
        return loaded
    role = "spatial:" if isinstance(loaded, LoadedTissue) else "reference:"
    own = tuple(fix for fix in fixes if fix.startswith(role))
    return replace(loaded, adata=adata, fixes=loaded.fixes + own, original=loaded.original or loaded.adata)


def _unfixed(loaded: _Loaded) -> _Loaded:
    if loaded.original is None:
        return loaded
    return replace(loaded, adata=loaded.original, fixes=(), original=None)
