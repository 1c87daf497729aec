"""Detect the format of a path from its names and first bytes, and describe it in words."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from napari_spotmix.base.text import printable
from napari_spotmix.io.problems import NOT_A_FILE, NOT_UTF8, has_plain_name, is_special, listed, why_not_read
from napari_spotmix.io.readers.h5ad import HDF5_MAGIC
from napari_spotmix.io.readers.images import IMAGE_SUFFIXES
from napari_spotmix.io.readers.options import ReadOptions
from napari_spotmix.io.readers.registry import FORMATS, JOINED, TABLES, format_of
from napari_spotmix.io.readers.space_ranger import PART_OF_A_RUN, has_matrix
from napari_spotmix.io.readers.table_parsing import TABLE_SUFFIXES, is_table_name
from napari_spotmix.io.readers.table_sections import why_no_spots
from napari_spotmix.io.readers.visium_hd import is_square

__all__ = ["Detected", "display_name", "detect_format", "detect_with", "why_packed"]

#: Removed from a file name to get the name of a section.
_ENDINGS = (
    ".h5ad",
    "_filtered_feature_bc_matrix.h5",
    *(end + zipped for end in TABLE_SUFFIXES for zipped in ("", ".gz")),
)
_HD = (
    "is Visium HD output without a count matrix: expected `filtered_feature_bc_matrix.h5` (or a folder of "
    "that name) in `binned_outputs/square_008um` or the folder of another bin size. "
    "Copy it from the same run."
)
#: First bytes of archives, the ends of their names, and what unpacks them.
_PACKED = (
    (b"\x1f\x8b", (".tar.gz", ".tgz"), "tar -xzf"),
    (b"PK\x03\x04", (".zip",), "unzip"),
    (b"", (".tar",), "tar -xf"),
)
_PROBES = (
    "Counts of genes are needed: choose the `outs` folder of the run, with `filtered_feature_bc_matrix.h5`."
)


@dataclass(frozen=True)
class Detected:
    """The format of a path.

    Attributes
    ----------
    kind : str
        The name of a format (see `registry.FORMATS`), ``"image"``, or, if the path cannot be opened,
        ``"unsupported"``, ``"missing"`` or ``"unreadable"``.
    path : Path
        The path of the data: for a Space Ranger run the folder that holds ``spatial/``.
    words : str
        A description for the user; if the path cannot be opened, why, and what to do.
    """

    kind: str
    path: Path
    words: str

    @property
    def is_spatial(self) -> bool:
        """True if `read_spatial` can read it."""
        return format_of(self.kind) is not None


def detect_format(path: str | os.PathLike[str], format: str | None = None) -> Detected:
    """Detect the format of `path` from names and first bytes alone; fast, and raises nothing.

    Examples
    --------
    >>> detect_format("no/such/folder").kind
    'missing'
    """
    path = Path(path)
    try:
        if not path.exists():
            return Detected("missing", path, _why_missing(path))
        if not has_plain_name(path):
            return Detected("unreadable", path, NOT_UTF8)
        if is_special(path):
            return Detected("unreadable", path, NOT_A_FILE)
        return _of_a_format(path, format) or (_other_folder(path) if path.is_dir() else _other_file(path))
    except (OSError, ValueError) as error:
        return Detected("unreadable", path, why_not_read(error))


def _why_missing(path: Path) -> str:
    link = next((part for part in (path, *path.parents) if part.is_symlink()), None)
    if link is None:
        return "does not exist. Check the spelling of the path."
    words = "is a link" if link == path else f"contains the link {link}"
    target = str(link.readlink())
    return f"{words} to {target!r}, which does not exist or is a loop. Choose the path of the data."


def detect_with(path: str | os.PathLike[str], options: ReadOptions) -> Detected:
    """Detect the format of `path`, given options; with coordinates it is a table, unless it can be joined."""
    found = detect_format(path, options.format)
    if options.coordinates is None or found.kind in ("missing", "unreadable", *JOINED):
        return found
    return Detected(TABLES, Path(path), "tables of counts and coordinates")


def _of_a_format(path: Path, name: str | None) -> Detected | None:
    for entry in FORMATS:
        if name in (None, entry.name) and (found := entry.find(path)) is not None:
            return Detected(entry.name, found, entry.words)
    return None


def _other_file(path: Path) -> Detected:
    with path.open("rb") as file:
        start = file.read(len(HDF5_MAGIC))
    name = path.name.lower()
    if packed := why_packed(path):
        return Detected("unsupported", path, packed)
    if name.endswith(".h5ad"):
        return _broken_h5ad(path, start)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Detected("image", path, "an image")
    if name.endswith("probe_bc_matrix.h5"):
        return Detected("unsupported", path, f"counts probes. {_PROBES}")
    if name.endswith("_bc_matrix.h5"):
        words = "is only the matrix of a Space Ranger run. Choose the folder that holds it and `spatial`."
        return Detected("unsupported", path, words)
    if name.endswith(".gef"):
        words = f"is named .gef but is not an HDF5 file: it begins with {start!r}. Copy or download it again."
        return Detected("unsupported", path, words)
    words = (
        "is neither a Space Ranger folder, an .h5ad file nor a table of counts (CSV, TSV, parquet, GEM). "
        "Convert it to .h5ad with scanpy or anndata."
    )
    return Detected("unsupported", path, why_no_spots(path) or words)


def why_packed(path: Path) -> str | None:
    """Return that a file must be unpacked first, and how; None for other files and gzipped tables."""
    name = path.name.lower()
    if is_table_name(path.name) or path.is_dir():
        return None
    with path.open("rb") as file:
        start = file.read(4)
    for magic, endings, command in _PACKED:
        if start.startswith(magic) and name.endswith(endings):
            return f"is an archive. Unpack it first (`{command} {path.name}`), and choose what is in it."
    if start.startswith(b"\x1f\x8b"):
        inside = path.stem if path.suffix.lower() == ".gz" else path.name
        return f"is compressed with gzip. Unpack it first (`gunzip -k {path.name}`), and choose {inside!r}."
    return None


def _broken_h5ad(path: Path, start: bytes) -> Detected:
    found = "is empty" if not start else f"begins with {start!r}"
    words = f"is named .h5ad but is not an HDF5 file: it {found}. Copy or download it again."
    return Detected("unsupported", path, words)


def _other_folder(path: Path) -> Detected:
    if is_zarr(path):
        words = (
            "is a Zarr store, but its root is neither of SpatialData nor of AnnData. "
            "Choose the root of the store, or write it again with spatialdata or anndata."
        )
        return Detected("unsupported", path, words)
    for folder in (path, path / "outs"):
        if _is_hd(folder):
            return Detected("unsupported", path, _HD)
    return Detected("unsupported", path, _why_not(path))


def _is_hd(folder: Path) -> bool:
    has_bins = folder.name == "binned_outputs" or (folder / "binned_outputs").is_dir()
    return has_bins or is_square(folder) or any(is_square(child) for child in folder.glob("*square_*um"))


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is the root of a Zarr store, format 2 or 3."""
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs"))


def _why_not(path: Path) -> str:
    if path.name == "spatial" and has_matrix(path.parent):
        return "is only the `spatial` folder of a Space Ranger run. Choose the folder that holds it."
    for folder in (path, path / "outs"):
        if has_matrix(folder):
            return (
                f"holds a count matrix but no `spatial` folder{_within(path, folder)}: it looks like "
                "Cell Ranger output of single cells, without coordinates of spots. "
                "Choose the `outs` folder of a Space Ranger run."
            )
        if (folder / "spatial").is_dir():
            return (
                f"holds a `spatial` folder{_within(path, folder)} but no count matrix: "
                "expected `filtered_feature_bc_matrix.h5` or a folder `filtered_feature_bc_matrix`. "
                "Copy it from the same run."
            )
    names = sorted(entry.name for entry in path.iterdir())
    words = (
        "is not a Space Ranger output: expected a folder `spatial` and `filtered_feature_bc_matrix.h5` "
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
    """Return a name to show for the data at a path: that of the run's folder, not of ``outs`` or bins in it.

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
    names = (part.name for part in (path, *path.parents) if not PART_OF_A_RUN.fullmatch(part.name))
    name = printable(next(names, ""))
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)
