"""Files to AnnData, and results to files.

``read_spatial`` and ``read_reference`` are what most need; ``sniff`` tells what a path is,
``read_image`` reads an image of the tissue, ``write_outputs`` keeps a result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix.base.cancel import heard
from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.atomic import discard_unfinished, write_aside, write_folder_aside
from napari_spotmix.io.notes import NOTES, reading_notes
from napari_spotmix.io.on_disk import close_files, copied, is_closed, is_on_disk, replaced
from napari_spotmix.io.problems import Gatherer, listed, reported
from napari_spotmix.io.readers.delimited import TABLE_SUFFIXES
from napari_spotmix.io.readers.detect import Found, sniff, sniff_as
from napari_spotmix.io.readers.formats import FORMATS, TABLES, Format, SpatialReader, format_of
from napari_spotmix.io.readers.h5ad import label_columns
from napari_spotmix.io.readers.images import IMAGE_SUFFIXES, TissueImage, read_image
from napari_spotmix.io.readers.joining import joined
from napari_spotmix.io.readers.overview import lay_under, read_overview, spots_off_image
from napari_spotmix.io.readers.reading import DEFAULT, Choices, Reading
from napari_spotmix.io.readers.references import MissingLabels, read_labeled
from napari_spotmix.io.readers.signatures import is_signatures
from napari_spotmix.io.readers.table_files import takes_places
from napari_spotmix.io.readers.visium_hd import BinSize
from napari_spotmix.io.recipe import checksums, files_read, is_large, make_recipe, read_recipe
from napari_spotmix.io.remote import fetched, is_url, on_this_machine, place, shown_url
from napari_spotmix.io.results import (
    OUTPUTS,
    check_whole,
    check_writable,
    output_problems,
    write_h5ad,
    write_outputs,
)
from napari_spotmix.io.safe_names import restored_names, with_safe_names

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "NOTES",
    "OUTPUTS",
    "BinSize",
    "Choices",
    "FORMATS",
    "Format",
    "Found",
    "IMAGE_SUFFIXES",
    "MissingLabels",
    "Reading",
    "TABLE_SUFFIXES",
    "TissueImage",
    "bin_sizes",
    "check_whole",
    "check_writable",
    "checksums",
    "choices",
    "close_files",
    "copied",
    "discard_unfinished",
    "fetched",
    "files_read",
    "heard",
    "is_closed",
    "is_large",
    "is_on_disk",
    "is_signatures",
    "is_url",
    "on_this_machine",
    "label_columns",
    "listed",
    "make_recipe",
    "output_problems",
    "place",
    "read_image",
    "read_recipe",
    "read_reference",
    "read_spatial",
    "reading_notes",
    "replaced",
    "reported",
    "restored_names",
    "shown_url",
    "sniff",
    "spots_off_image",
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
    table: str | None = None,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read spots with their counts, coordinates and, where there are any, images.

    Parameters
    ----------
    path : str or Path
        A Space Ranger output folder, version 1 to 4 (the folder itself, or the one that holds ``outs``; of
        Visium HD ``binned_outputs`` or the folder of one size of bins too), an ``.h5ad`` file or Zarr store
        in the layout of scanpy, a SpatialData store, a table of counts (CSV, TSV, parquet; see `io.tables`)
        or of one count in each row (GEM; see `io.gem`), or a folder that holds such.
    format : str, optional
        Name of the format, one of those in `FORMATS`; without it the format is found out.
    bin_um : float, optional
        Side of the bins in micrometers, where there are several sizes (see `bin_sizes`); without it the one
        nearest to `params.BIN_UM`, 8.
    image : str or Path, optional
        The full-resolution image that the coordinates refer to, which lies elsewhere: TIFF (OME-TIFF, BTF,
        SVS), PNG or JPEG. At most 6000 pixels of its longest side are kept, as the ``hires`` image.
    coordinates : str or Path, optional
        For a table of counts: that of the coordinates of spots, where it does not lie beside.
    gem_bin : int, optional
        For a table of one count in each row: side of the bins, for Stereo-seq in DNBs of 0.5 um, else in
        the unit of the table. Without it `params.GEM_BIN` for Stereo-seq; for another each place is a spot.
    table : str, optional
        For a SpatialData store: name of a table, or of a region that one describes, where there are several.
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
    napari_spotmix.base.errors.ReadError: no/such/place: does not exist. Check the spelling of the path.
    """
    path = on_this_machine(path, on_progress=on_progress)
    how = Reading(
        format,
        bin_um,
        None if image is None else Path(image),
        None if coordinates is None else Path(coordinates),
        gem_bin,
        table,
    )
    found = sniff_as(path, how)
    one = format_of(found.kind)
    if one is not None:
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


def choices(path: str | os.PathLike[str], how: Reading = DEFAULT) -> Choices:
    """Return what `read_spatial` can be told of a path beside it; fast, and raises nothing.

    Parameters
    ----------
    path : str or Path
    how : Reading
        What it is told already.

    Examples
    --------
    >>> choices("no/such/place")
    Choices(bin_sizes=(), tables=(), coordinates=False)
    """
    found = sniff_as(path, how)
    one = format_of(found.kind)
    try:
        if one is None or one.name == TABLES:
            return Choices(coordinates=one is not None or takes_places(found.path))
        return Choices(
            () if one.bins_in is None else tuple(one.bins_in(found.path)),
            () if one.tables_in is None else tuple(one.tables_in(found.path, how)),
        )
    except (OSError, ReadError):
        return Choices()  # reading tells what is wrong


def read_reference(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    cell_type_key: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read single cells with their cell types, or a table of signatures.

    Parameters
    ----------
    path : str or Path, or a sequence of them
        An ``.h5ad`` file, a Zarr store of AnnData or a loom file with raw counts and a column of labels; a
        10x matrix (``.h5``, a Matrix Market folder, or the output folder of Cell Ranger) or a table of counts
        (CSV, TSV or parquet, cells x genes or genes x cells), each with a table of labels; or a table of
        signatures, mean counts of each gene in each type. Several are joined (see `io.joining.joined`).
    cell_type_key : str, optional
        Column that must be there; without it none is asked for (see `label_columns`).
    labels : str or Path, optional
        Table of cells and their types (CSV or TSV), where it does not lie beside the counts. With it, the
        likeliest column of types is called ``cell_type``.
    backed : bool, optional
        Leave the counts of a single ``.h5ad`` file in it, as `read_spatial` does; all else is read.
    on_progress : callable, optional
        Told what is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        (n_cells, n_genes), as in the file; of signatures (n_cell_types, n_genes), see `is_signatures`.
        ``uns['spotmix_notes']`` how cells got their labels, and what was joined (see `reading_notes`).

    Raises
    ------
    ReadError
        If it is no such file, is damaged, or lacks the column, and then names the likely ones; of several,
        all problems of each. `MissingLabels` where a table of labels is all that it needs.

    Examples
    --------
    >>> read_reference("no/such/cells.h5ad")
    Traceback (most recent call last):
    napari_spotmix.base.errors.ReadError: no/such/cells.h5ad: does not exist. Check the spelling of the path.
    """
    given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not given:
        raise InputError("`path` names no reference. Give at least one.")
    paths = [on_this_machine(one, on_progress=on_progress) for one in given]
    table = None if labels is None else Path(labels)

    def read(one: Path) -> AnnData:
        return read_labeled(
            one,
            cell_type_key=cell_type_key,
            labels=table,
            backed=backed and len(paths) == 1,
            on_progress=on_progress,
        )

    if len(paths) == 1:
        return read(paths[0])
    return joined(_each(paths, read), paths, cell_type_key)


def _each(paths: Sequence[Path], read: Callable[[Path], AnnData]) -> list[AnnData]:
    """Read all paths, and tell what is wrong with each at once."""
    found: list[AnnData] = []
    errors: list[ReadError] = []
    for path in paths:
        try:
            found.append(read(path))
        except ReadError as error:
            errors.append(error)
    problems = [f"{error.path}: {problem}" for error in errors for problem in error.problems]
    if problems and all(isinstance(error, MissingLabels) for error in errors):
        raise MissingLabels(errors[0].path, problems)
    if problems:
        raise InputError(problems)
    return found
