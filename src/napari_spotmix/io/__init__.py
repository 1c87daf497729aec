"""Files to AnnData, and results to files.

``read_spatial`` and ``read_reference`` are what most need; ``sniff`` tells what a path is,
``read_image`` reads an image of the tissue, ``write_outputs`` keeps a result.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix.errors import ReadError
from napari_spotmix.io._names import restored_names, with_safe_names
from napari_spotmix.io._notes import NOTES, reading_notes
from napari_spotmix.io._problems import Gatherer, reported
from napari_spotmix.io._text import TABLE_SUFFIXES
from napari_spotmix.io.export import (
    OUTPUTS,
    check_whole,
    check_writable,
    discard_unfinished,
    output_problems,
    write_aside,
    write_folder_aside,
    write_h5ad,
    write_outputs,
)
from napari_spotmix.io.formats import FORMATS, Format, SpatialReader, format_of
from napari_spotmix.io.h5ad import label_columns
from napari_spotmix.io.images import IMAGE_SUFFIXES, TissueImage, read_image
from napari_spotmix.io.on_disk import close_files, copied, is_closed, is_on_disk
from napari_spotmix.io.overview import lay_under, read_overview
from napari_spotmix.io.reading import Reading
from napari_spotmix.io.recipe import checksums, files_read, is_large, make_recipe, read_recipe
from napari_spotmix.io.sniff import Found, sniff, sniff_as
from napari_spotmix.io.visium_hd import BinSize
from napari_spotmix.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "NOTES",
    "OUTPUTS",
    "BinSize",
    "FORMATS",
    "Format",
    "Found",
    "IMAGE_SUFFIXES",
    "Reading",
    "TABLE_SUFFIXES",
    "TissueImage",
    "bin_sizes",
    "check_whole",
    "check_writable",
    "checksums",
    "close_files",
    "copied",
    "discard_unfinished",
    "files_read",
    "is_closed",
    "is_large",
    "is_on_disk",
    "label_columns",
    "make_recipe",
    "output_problems",
    "read_image",
    "read_recipe",
    "read_reference",
    "read_spatial",
    "reading_notes",
    "reported",
    "restored_names",
    "sniff",
    "with_safe_names",
    "write_aside",
    "write_folder_aside",
    "write_h5ad",
    "write_outputs",
]


def read_spatial(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    bin_um: float | None = None,
    image: str | os.PathLike[str] | None = None,
    coordinates: str | os.PathLike[str] | None = None,
    gem_bin: int | None = None,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read spots with their counts, coordinates and, where there are any, images.

    Parameters
    ----------
    path : str or Path
        A Space Ranger output folder, version 1 to 4 (the folder itself, or the one that holds
        ``outs``; of Visium HD ``binned_outputs`` or the folder of one size of bins too), an ``.h5ad`` file in
        the layout of scanpy, a table of counts (CSV, TSV, parquet; see `io.tables`) or of one count in each
        row (GEM; see `io.gem`), or a folder that holds such.
    format : str, optional
        Name of the format, one of those in `FORMATS`; without it the format is found out.
    bin_um : float, optional
        Side of the bins in micrometres, where there are several sizes (see `bin_sizes`); without it the one
        nearest to `params.BIN_UM`, 8.
    image : str or Path, optional
        The full-resolution image that the coordinates refer to, which lies elsewhere: TIFF (OME-TIFF, BTF,
        SVS), PNG or JPEG. At most 6000 pixels of its longest side are kept, as the ``hires`` image.
    coordinates : str or Path, optional
        For a table of counts: that of the coordinates of spots, where it does not lie beside.
    gem_bin : int, optional
        For a table of one count in each row: side of the bins, for Stereo-seq in DNBs of 0.5 um, else in
        the unit of the table. Without it `params.GEM_BIN` for Stereo-seq; for another each place is a spot.
    backed : bool, optional
        Leave the matrices of counts in their file and read them from it when they are needed, so that
        they may be larger than memory. The file stays open while the AnnData is in use, and is never
        written to. Where counts cannot stay on disk (Matrix Market folders, features or spots that are left
        out), they are read, and a note says so.
    on_progress : callable, optional
        Told of each part that is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        ``X`` raw counts; a folder gives CSR float32 (n_spots, n_genes), or with `backed` a CSRDataset.
        ``obs`` in_tissue, array_row, array_col. ``var_names`` gene symbols as in the file, duplicates
        kept, with ``var['gene_ids']``. ``obsm['spatial']`` float64 (n_spots, 2), (x, y) in full-resolution
        pixels. ``uns['spatial'][library]`` images, scalefactors and metadata.
        ``uns['spotmix_notes']`` what was missing or left out (see `reading_notes`).

    Raises
    ------
    ReadError
        All that is wrong with the file or folder.

    Examples
    --------
    >>> read_spatial("no/such/place")
    Traceback (most recent call last):
    napari_spotmix.errors.ReadError: no/such/place: does not exist. Check the spelling of the path.
    """
    path = Path(path)
    how = Reading(
        format,
        bin_um,
        None if image is None else Path(image),
        None if coordinates is None else Path(coordinates),
        gem_bin,
    )
    found = sniff_as(path, how)
    one = format_of(found.kind)
    if one is not None and one.read_spatial is not None:
        if bin_um is not None and one.bins_in is None:
            raise ReadError(path, f"`bin_um`: {one.words} has no bins of several sizes. Leave it out.")
        return _read_with_image(one.read_spatial, found.path, how, backed, on_progress)
    if found.kind == "image":
        raise ReadError(
            path, "is an image. Choose the Space Ranger folder or the .h5ad file that it belongs to."
        )
    raise ReadError(path, found.words)


def _read_with_image(
    read: SpatialReader, path: Path, how: Reading, backed: bool, on_progress: ProgressCallback
) -> AnnData:
    """Read spots and the image beside them, and tell what is wrong with both at once."""
    gather = Gatherer(path)
    image = adata = None
    with gather:
        image = None if how.image is None else read_overview(how.image, on_progress)
    with gather:
        adata = read(path, how, backed=backed, on_progress=on_progress)
    if gather.problems and adata is not None:
        close_files(adata)
    gather.raise_all()
    assert adata is not None
    if image is not None:
        lay_under(adata, image)
    return adata


def bin_sizes(path: str | os.PathLike[str], format: str | None = None) -> list[BinSize]:
    """Return the sizes of bins that `read_spatial` can read at `path`, the smallest first; fast.

    Returns
    -------
    list of BinSize
        ``um`` and ``n_bins``; empty where there are no bins.

    Examples
    --------
    >>> bin_sizes("no/such/place")
    []
    """
    found = sniff(path, format)
    one = format_of(found.kind)
    return [] if one is None or one.bins_in is None else one.bins_in(found.path)


def read_reference(
    path: str | os.PathLike[str], *, cell_type_key: str | None = None, on_progress: ProgressCallback = silent
) -> AnnData:
    """Read single cells with their cell types.

    Parameters
    ----------
    path : str or Path
        An ``.h5ad`` file with raw counts and a column of labels in ``obs``.
    cell_type_key : str, optional
        Column that must be there; without it none is asked for (see `label_columns`).
    on_progress : callable, optional
        Told what is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        (n_cells, n_genes), as in the file.

    Raises
    ------
    ReadError
        If it is no such file, is damaged, or lacks the column; names the likely ones.
    """
    path = Path(path)
    found = sniff(path)
    one = format_of(found.kind)
    if one is not None and one.read_reference is not None:
        return one.read_reference(found.path, cell_type_key=cell_type_key, on_progress=on_progress)
    if found.kind in ("missing", "unreadable") or str(path).lower().endswith(".h5ad"):
        raise ReadError(path, found.words)
    raise ReadError(
        path, "is no .h5ad file: the reference must be one, with a column of cell types in `obs`."
    )
