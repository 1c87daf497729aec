"""Read Visium HD: one of the sizes of bins that Space Ranger 3 and 4 write.

References
----------
10x Genomics, "Space Ranger Outputs" for Visium HD (3.0 and 4.0): ``binned_outputs/square_002um``,
``square_008um``, ``square_016um`` and any other size that was asked for, each laid out as a run for standard
Visium, with ``spatial/tissue_positions.parquet``.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import BIN_SIZE, SCALE_FACTORS, SPATIAL
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.readers.matrix import count_barcodes
from napari_spotmix.io.readers.reading import DEFAULT, Reading
from napari_spotmix.io.readers.space_ranger import Layout, find_layout, has_matrix, read_layout
from napari_spotmix.params import BIN_UM

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["BinSize", "bins_in", "hd_layout", "is_square", "read_visium_hd", "visium_hd_folder"]

_BINS, _CELLS = "binned_outputs", "segmented_outputs"
_CHOOSE = "Choose another size with `bin_um` (in napari: Bin size)."
_SQUARE = re.compile(r"(?:^|_)square_(\d+)um$")


@dataclass(frozen=True)
class BinSize:
    """A size of bins that can be chosen.

    Attributes
    ----------
    um : float
        Side of a bin in micrometers.
    n_bins : int or None
        How many bins would be read, None where the file does not tell.
    """

    um: float
    n_bins: int | None


def visium_hd_folder(path: Path) -> Path | None:
    """Return `path`, or the ``outs`` folder in it, if it is a Visium HD run or one of its sizes of bins."""
    return next((folder for folder in (path, path / "outs") if _squares(folder)), None)


def _squares(folder: Path) -> dict[float | None, Path]:
    """Return where bins of each size lie, the smallest first; a single folder's size may not be known."""
    if is_square(folder) and has_matrix(folder):
        return {_size_of(folder): folder}
    folders = [child for place in (folder, folder / _BINS) for child in place.glob("*square_*um")]
    found = {_named_size(child): child for child in folders if _named_size(child) and has_matrix(child)}
    return dict(sorted(found.items(), key=lambda item: item[0] or 0))


def is_square(folder: Path) -> bool:
    """Return whether a folder is that of one size of bins, which may have been renamed."""
    return _named_size(folder) is not None or any(folder.glob("spatial/*tissue_positions.parquet"))


def _named_size(folder: Path) -> float | None:
    named = _SQUARE.search(folder.absolute().name)
    return float(named[1]) if named else None


def _size_of(folder: Path) -> float | None:
    """Return the size of bins in a folder that may have been renamed."""
    return _named_size(folder) or next(
        map(_told_size, sorted(folder.glob("spatial/*factors_json.json"))), None
    )


def _told_size(scale_factors: Path) -> float | None:
    try:
        um = float(json.loads(scale_factors.read_text(encoding="utf-8-sig"))[BIN_SIZE])
    except (OSError, ValueError, KeyError, TypeError):  # told when it is read
        return None
    return um if 0 < um < math.inf else None


def bins_in(root: Path) -> list[BinSize]:
    """Return the sizes of bins that there are, the smallest first; fast, and raises nothing."""
    sizes = []
    for um, folder in _squares(root).items():
        try:
            n_bins = count_barcodes(find_layout(root, folder).matrix)
        except ReadError:
            n_bins = None
        sizes += [] if um is None else [BinSize(um, n_bins)]
    return sizes


def hd_layout(root: Path, how: Reading = DEFAULT) -> Layout:
    """Find the files of the size of bins that is asked for, or of the one nearest to `params.BIN_UM`.

    Raises
    ------
    ReadError
        If there is no such size, or files are missing.
    """
    return find_layout(root, _chosen(root, how.bin_um)[1])


def _chosen(root: Path, bin_um: float | None) -> tuple[float | None, Path]:
    squares = _squares(root)
    if bin_um is None:
        um = min(squares, key=lambda um: abs(math.log((um or BIN_UM) / BIN_UM)))
        return um, squares[um]
    if bin_um not in squares:
        raise ReadError(root, _no_such_size(root, bin_um, list(squares)))
    return bin_um, squares[bin_um]


def _no_such_size(root: Path, bin_um: float, sizes: list[float | None]) -> str:
    found = _in_words([um for um in sizes if um is not None]) or "bins whose size is not told"
    others = f" For other sizes choose the folder that holds `{root.name}`." if is_square(root) else ""
    return f"`bin_um`: there are no bins of {bin_um:g} µm here, found {found}.{others}"


def _in_words(sizes: list[float]) -> str:
    """Return the sizes as text.

    Examples
    --------
    >>> _in_words([2.0, 8.0, 16.0])
    '2, 8 and 16 µm'
    """
    words = [f"{um:g}" for um in sizes]
    return f"{' and '.join([', '.join(words[:-1]), words[-1]] if words[1:] else words)} µm" if words else ""


def read_visium_hd(
    root: Path, how: Reading = DEFAULT, *, backed: bool = False, on_progress: ProgressCallback = silent
) -> AnnData:
    """Read the bins of one size; as :func:`napari_spotmix.io.read_spatial`.

    ``uns['spatial'][library]['scalefactors']`` holds ``bin_size_um``, from the name of the folder where the
    file does not tell it.
    """
    um, folder = _chosen(root, how.bin_um)
    adata = read_layout(find_layout(root, folder), how, backed=backed, on_progress=on_progress)
    if um is not None:
        for library in adata.uns[SPATIAL].values():
            library[SCALE_FACTORS].setdefault(BIN_SIZE, um)
    add_notes(adata, _notes(root, um, how))
    return adata


def _notes(root: Path, um: float | None, how: Reading) -> list[str]:
    notes = []
    sizes = [size for size in _squares(root) if size is not None]
    if how.bin_um is None and um is not None and len(sizes) > 1:
        notes.append(f"Bins of {um:g} µm were read; this run has {_in_words(sizes)}. {_CHOOSE}")
    if any((folder / _CELLS).is_dir() for folder in (root, root.parent, root.parent.parent)):
        notes.append(
            f"Cells that Space Ranger outlined (`{_CELLS}`) were not read: spotmix works on the bins."
        )
    return notes
