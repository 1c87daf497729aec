"""Read Visium HD: the bins of one of the sizes that Space Ranger 3 and 4 write.

References
----------
10x Genomics, "Space Ranger Outputs" for Visium HD (3.0 and 4.0): ``binned_outputs/square_002um``,
``square_008um``, ``square_016um`` and any other size that Space Ranger was run with. Each holds the files of
a run for standard Visium, with ``spatial/tissue_positions.parquet``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import BIN_SIZE, SCALE_FACTORS, SPATIAL
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.readers.json_files import read_json
from napari_spotmix.io.readers.options import DEFAULT, BinSize, ReadOptions
from napari_spotmix.io.readers.space_ranger import (
    SpaceRangerFiles,
    find_run_files,
    has_matrix,
    read_run_files,
)
from napari_spotmix.io.readers.tenx_matrix import count_barcodes
from napari_spotmix.params import BIN_UM

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["bins_in", "find_bin_files", "is_square", "read_visium_hd", "find_visium_hd"]

_BINS, _CELLS = "binned_outputs", "segmented_outputs"
_CHOOSE = "Choose another size with `bin_um` (in napari: Bin size)."
_SQUARE = re.compile(r"(?:^|_)square_(\d+)um$")


def find_visium_hd(path: Path) -> Path | None:
    """Return `path`, or the ``outs`` folder in it, if it is a Visium HD run or the folder of one bin size."""
    return next((folder for folder in (path, path / "outs") if _squares(folder)), None)


def _squares(folder: Path) -> dict[float | None, Path]:
    """Return the folder of each bin size, the smallest first; the size of a single folder may be unknown."""
    if is_square(folder) and has_matrix(folder):
        return {_size_of(folder): folder}
    folders = [child for parent in (folder, folder / _BINS) for child in parent.glob("*square_*um")]
    found = {_named_size(child): child for child in folders if _named_size(child) and has_matrix(child)}
    return dict(sorted(found.items(), key=lambda item: item[0] or 0))


def is_square(folder: Path) -> bool:
    """Return whether a folder holds the bins of one size; it may have been renamed."""
    return _named_size(folder) is not None or any(folder.glob("spatial/*tissue_positions.parquet"))


def _named_size(folder: Path) -> float | None:
    named = _SQUARE.search(folder.absolute().name)
    return float(named[1]) if named else None


def _size_of(folder: Path) -> float | None:
    """Return the bin size of a folder that may have been renamed."""
    return _named_size(folder) or next(
        map(_size_in_file, sorted(folder.glob("spatial/*factors_json.json"))), None
    )


def _size_in_file(scale_factors: Path) -> float | None:
    try:
        um = float(read_json(scale_factors)[BIN_SIZE])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):  # reported when the run is read
        return None
    return um if 0 < um < math.inf else None


def bins_in(root: Path) -> list[BinSize]:
    """Return the bin sizes of a run, the smallest first; fast, and raises nothing."""
    sizes = []
    for um, folder in _squares(root).items():
        try:
            n_bins = count_barcodes(find_run_files(root, folder).matrix)
        except ReadError:
            n_bins = None
        sizes += [] if um is None else [BinSize(um, n_bins)]
    return sizes


def find_bin_files(root: Path, options: ReadOptions = DEFAULT) -> SpaceRangerFiles:
    """Find the files of the chosen bin size, by default the one nearest to `params.BIN_UM`.

    Raises
    ------
    ReadError
        If the run has no bins of that size, or files are missing.
    """
    return find_run_files(root, _chosen(root, options.bin_um)[1])


def _chosen(root: Path, bin_um: float | None) -> tuple[float | None, Path]:
    squares = _squares(root)
    if bin_um is None:
        um = min(squares, key=lambda um: abs(math.log((um or BIN_UM) / BIN_UM)))
        return um, squares[um]
    if bin_um not in squares:
        raise ReadError(root, _unknown_size(root, bin_um, list(squares)))
    return bin_um, squares[bin_um]


def _unknown_size(root: Path, bin_um: float, sizes: list[float | None]) -> str:
    found = _sizes_as_text([um for um in sizes if um is not None]) or "bins of unknown size"
    others = (
        f"For other sizes choose the folder that holds `{root.name}`."
        if is_square(root)
        else "Choose one of these."
    )
    return f"`bin_um`: bins of {bin_um:g} µm were not found; the run has {found}. {others}"


def _sizes_as_text(sizes: list[float]) -> str:
    """Return the sizes as text.

    Examples
    --------
    >>> _sizes_as_text([2.0, 8.0, 16.0])
    '2, 8 and 16 µm'
    """
    words = [f"{um:g}" for um in sizes]
    return f"{' and '.join([', '.join(words[:-1]), words[-1]] if words[1:] else words)} µm" if words else ""


def read_visium_hd(
    root: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read the bins of one size; as :func:`napari_spotmix.io.read_spatial`.

    ``uns['spatial'][library]['scalefactors']`` holds ``bin_size_um``, from the name of the folder if it is
    not in the file.
    """
    um, folder = _chosen(root, options.bin_um)
    adata = read_run_files(find_run_files(root, folder), options, backed=backed, on_progress=on_progress)
    if um is not None:
        for library in adata.uns[SPATIAL].values():
            library[SCALE_FACTORS].setdefault(BIN_SIZE, um)
    add_notes(adata, _notes(root, um, options))
    return adata


def _notes(root: Path, um: float | None, options: ReadOptions) -> list[str]:
    notes = []
    sizes = [size for size in _squares(root) if size is not None]
    if options.bin_um is None and um is not None and len(sizes) > 1:
        notes.append(f"Bins of {um:g} µm were read; this run has {_sizes_as_text(sizes)}. {_CHOOSE}")
    if any((folder / _CELLS).is_dir() for folder in (root, root.parent, root.parent.parent)):
        notes.append(
            f"Cells segmented by Space Ranger (`{_CELLS}`) were not read, but the bins. "
            "Choose that folder to read the cells."
        )
    return notes
