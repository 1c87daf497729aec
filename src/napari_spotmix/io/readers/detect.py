"""Find out what a path is, without reading it, and say it in words."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from napari_spotmix.io.problems import listed, reason
from napari_spotmix.io.readers.table_parsing import TABLE_SUFFIXES
from napari_spotmix.io.readers.registry import FORMATS, TABLES, format_of
from napari_spotmix.io.readers.h5ad import HDF5_MAGIC
from napari_spotmix.io.readers.images import IMAGE_SUFFIXES
from napari_spotmix.io.readers.options import ReadOptions
from napari_spotmix.io.readers.space_ranger import PART_OF_A_RUN, has_matrix
from napari_spotmix.io.readers.table_files import why_no_spots
from napari_spotmix.io.readers.visium_hd import is_square

__all__ = ["Found", "display_name", "detect_format", "detect_with"]

#: What is no part of the name of a section.
_ENDINGS = (".h5ad", *(end + zipped for end in TABLE_SUFFIXES for zipped in ("", ".gz")))
_HD = (
    "is Visium HD output without a count matrix: expected `filtered_feature_bc_matrix.h5` (or a folder of "
    "that name) in `binned_outputs/square_008um` or the folder of another size of bins. "
    "Copy it from the same run."
)
_CELLS = (
    "holds cells that Space Ranger 4 outlined in the image (`segmented_outputs`), which have no positions to "
    "read. Choose the folder of the whole run, for its bins (`binned_outputs`) to be read."
)
_PROBES = (
    "A matrix of probes is not one of genes: take `filtered_feature_bc_matrix.h5`, and choose the `outs` "
    "folder of the run."
)


@dataclass(frozen=True)
class Found:
    """What a path is.

    Attributes
    ----------
    kind : str
        The name of a format (see `formats.FORMATS`), or ``"image"``; ``"unsupported"``, ``"missing"``
        and ``"unreadable"`` cannot be opened.
    path : Path
        Where the data lie: for a Space Ranger run the folder that holds ``spatial/``.
    words : str
        What it is, to show; for what cannot be opened, why not and what to do.
    """

    kind: str
    path: Path
    words: str

    @property
    def is_spatial(self) -> bool:
        """True if `read_spatial` takes it."""
        return format_of(self.kind) is not None


def detect_format(path: str | os.PathLike[str], format: str | None = None) -> Found:
    """Find out what `path` is from names and first bytes alone; fast, and raises nothing.

    Examples
    --------
    >>> detect_format("no/such/place").kind
    'missing'
    """
    path = Path(path)
    try:
        if not path.exists():
            return Found("missing", path, _why_missing(path))
        return _of_a_format(path, format) or (_sniff_folder(path) if path.is_dir() else _sniff_file(path))
    except (OSError, ValueError) as error:
        return Found("unreadable", path, reason(error))


def _why_missing(path: Path) -> str:
    link = next((place for place in (path, *path.parents) if place.is_symlink()), None)
    if link is None:
        return "does not exist. Check the spelling of the path."
    words = "is a link" if link == path else f"leads through the link {link}"
    return f"{words} that leads nowhere: to {str(link.readlink())!r}. Give the path of the data themselves."


def detect_with(path: str | os.PathLike[str], options: ReadOptions) -> Found:
    """Find out what `path` is where more is told than it; a table of places makes it one of counts."""
    found = detect_format(path, options.format)
    if options.coordinates is None or found.kind in ("missing", "unreadable"):
        return found
    return Found(TABLES, Path(path), "tables of counts and coordinates")


def _of_a_format(path: Path, name: str | None) -> Found | None:
    for one in FORMATS:
        if name in (None, one.name) and (place := one.find(path)) is not None:
            return Found(one.name, place, one.words)
    return None


def _sniff_file(path: Path) -> Found:
    with path.open("rb") as file:
        start = file.read(len(HDF5_MAGIC))
    name = path.name.lower()
    if name.endswith(".h5ad"):
        return _sniff_h5ad(path, start)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Found("image", path, "an image")
    if name.endswith("probe_bc_matrix.h5"):
        return Found("unsupported", path, f"counts probes. {_PROBES}")
    if name.endswith("_bc_matrix.h5"):
        words = "is only the matrix of a Space Ranger run. Open the folder that holds it and `spatial`."
        return Found("unsupported", path, words)
    if name.endswith(".gef"):
        words = "is a GEF file of Stereo-seq, which is not read. Convert it to GEM with SAW or stereopy."
        return Found("unsupported", path, words)
    words = (
        "is neither a Space Ranger folder, an .h5ad file nor a table of counts (CSV, TSV, parquet, GEM). "
        "Convert it to .h5ad with scanpy or anndata."
    )
    return Found("unsupported", path, why_no_spots(path) or words)


def _sniff_h5ad(path: Path, start: bytes) -> Found:
    found = "is empty" if not start else f"begins with {start!r}"
    words = f"is named .h5ad but is not an HDF5 file: it {found}. Copy or download it again."
    return Found("unsupported", path, words)


def _sniff_folder(path: Path) -> Found:
    if is_zarr(path):
        words = (
            "is a Zarr store, but neither of SpatialData nor of AnnData as far as its root tells. "
            "Choose the root of the store, or write it again with spatialdata or anndata."
        )
        return Found("unsupported", path, words)
    for folder in (path, path / "outs"):
        if _is_hd(folder):
            return Found("unsupported", path, _HD)
        if _has_cells(folder):
            return Found("unsupported", path, _CELLS)
    return Found("unsupported", path, _why_not(path))


def _is_hd(folder: Path) -> bool:
    has_bins = folder.name == "binned_outputs" or (folder / "binned_outputs").is_dir()
    return has_bins or is_square(folder) or any(is_square(child) for child in folder.glob("*square_*um"))


def _has_cells(folder: Path) -> bool:
    places = (folder, folder / "segmented_outputs")
    return any(True for place in places for _ in place.glob("*feature_cell_matrix*"))


def is_zarr(folder: Path) -> bool:
    """True for the root of a Zarr store, format 2 or 3."""
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs"))


def _why_not(path: Path) -> str:
    for folder in (path, path / "outs"):
        if has_matrix(folder):
            return (
                f"holds a count matrix but no `spatial` folder{_within(path, folder)}: it looks like "
                "Cell Ranger output of single cells, without positions of spots. "
                "Choose the `outs` folder of a Space Ranger run."
            )
        if (folder / "spatial").is_dir():
            return (
                f"holds a `spatial` folder{_within(path, folder)} but no count matrix beside it: "
                "expected `filtered_feature_bc_matrix.h5` or a folder `filtered_feature_bc_matrix`. "
                "Copy it from the same run."
            )
    names = sorted(entry.name for entry in path.iterdir())
    words = (
        "is not a Space Ranger output: expected a `spatial` folder beside `filtered_feature_bc_matrix.h5` "
        f"(or a folder of that name), found {listed(names)}."
    )
    if any(name.endswith("probe_bc_matrix.h5") for name in names):
        return f"{words} {_PROBES}"
    if why := why_no_spots(path):
        return why
    return f"{words} Choose the `outs` folder of a Space Ranger run, or an .h5ad file."


def _within(path: Path, folder: Path) -> str:
    return "" if folder == path else f" in `{folder.name}`"


def display_name(path: Path) -> str:
    """Return what people call the data at a path: the run's folder, not the ``outs`` or bins in it.

    Examples
    --------
    >>> display_name(Path("Vis5A/outs")), display_name(Path("liver.h5ad"))
    ('Vis5A', 'liver')
    >>> display_name(Path("MOB1.tsv.gz"))
    'MOB1'
    >>> display_name(Path("Brain/outs/binned_outputs/square_008um"))
    'Brain'
    """
    path = path.resolve()
    names = (place.name for place in (path, *path.parents) if not PART_OF_A_RUN.fullmatch(place.name))
    name = next(names, "")
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)
