"""Read spatial data and references: find the format of a path, and call its reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix.base.errors import NO_MEMORY, InputError, ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.libraries import only_section
from napari_spotmix.io.on_disk import close_files
from napari_spotmix.io.readers.detect import detect_format, detect_with
from napari_spotmix.io.readers.image_overview import add_overview, read_overview
from napari_spotmix.io.readers.join_references import join_references
from napari_spotmix.io.readers.labels import MissingLabels
from napari_spotmix.io.readers.options import DEFAULT, BinSize, Choices, ReadOptions
from napari_spotmix.io.readers.references import read_labeled
from napari_spotmix.io.readers.registry import JOINED, TABLES, SpatialReader, format_of
from napari_spotmix.io.readers.table_sections import takes_coordinates
from napari_spotmix.io.remote import local_path

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["bin_sizes", "choices", "read_reference", "read_spatial"]


def read_spatial(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    bin_um: float | None = None,
    image: str | os.PathLike[str] | None = None,
    coordinates: str | os.PathLike[str] | None = None,
    gem_bin: int | None = None,
    table: str | None = None,
    section: str | None = None,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read spots with their counts, coordinates and images, if there are any.

    Parameters
    ----------
    path : str or Path
        A Space Ranger output folder, version 1 to 4 (the folder itself, or the one that holds ``outs``; for
        Visium HD also ``binned_outputs`` or the folder of one bin size), an ``.h5ad`` file or Zarr store
        in the layout of scanpy, a SpatialData store, a table of counts (CSV, TSV, parquet; see
        `io.readers.tables`) or with one count per row (GEM; see `io.readers.gem`), a folder that holds such
        tables, or a GEF file of Stereo-seq. A URL is fetched first.
    format : str, optional
        Name of the format, one of those in `FORMATS`. By default the format is detected.
    bin_um : float, optional
        Side of the bins in micrometers, if the data have several bin sizes (see `bin_sizes`). Default: the
        size nearest to `params.BIN_UM`, 8.
    image : str or Path, optional
        The full-resolution image that the coordinates refer to, if it is not in the folder: TIFF (OME-TIFF,
        BTF, SVS), PNG or JPEG. It is kept as the ``hires`` image, with at most 6000 pixels along its longest
        side.
    coordinates : str or Path, optional
        For a table of counts: the table of coordinates, if it is not in the same folder. For an ``.h5ad``
        file or Zarr store without coordinates (or with wrong ones), the table that holds them.
    gem_bin : int, optional
        For a table with one count per row: side of the bins, for Stereo-seq in DNBs of 0.5 um, otherwise in
        the unit of the table. Default: `params.GEM_BIN` for Stereo-seq; for other tables, each position is
        a spot.
    table : str, optional
        For a SpatialData store with several tables: name of a table, or of a region that it annotates.
    section : str, optional
        For a file with several sections, distinguished by a column of ``obs`` with the names of libraries in
        ``uns['spatial']``: the one to read. Without it, all of them are.
    backed : bool, optional
        Leave the matrices of counts in their file and read them in blocks when they are needed, so that
        they may be larger than memory. The file stays open while the AnnData is in use, and is never
        written to. Counts that cannot stay on disk (Matrix Market folders, matrices from which features or
        spots are dropped) are read, with a note.
    on_progress : callable, optional
        Called for each part that is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        ``X`` raw counts; from a Space Ranger folder CSR float32 (n_spots, n_genes), or with `backed` a
        CSRDataset. ``obs`` in_tissue, array_row, array_col. ``var_names`` gene symbols as in the file,
        duplicates kept, with ``var['gene_ids']``. ``obsm['spatial']`` float64 (n_spots, 2), (x, y) in
        full-resolution pixels. ``uns['spatial'][library]`` images, scalefactors and metadata.
        ``uns['spotmix_notes']`` what was missing or dropped (see `reading_notes`).

    Raises
    ------
    ReadError
        With all problems of the file or folder.

    Examples
    --------
    >>> read_spatial("no/such/folder")
    Traceback (most recent call last):
    napari_spotmix.base.errors.ReadError: no/such/folder: does not exist. Check the spelling of the path.
    """
    path = local_path(path, on_progress=on_progress)
    options = ReadOptions(
        format,
        bin_um,
        None if image is None else Path(image),
        None if coordinates is None else Path(coordinates),
        gem_bin,
        table,
        section,
    )
    found = detect_with(path, options)
    entry = format_of(found.kind)
    if entry is not None:
        if bin_um is not None and entry.bins_in is None:
            raise ReadError(
                path, f"`bin_um` needs data with several bin sizes, found {entry.words}. Leave it out."
            )
        return _read_with_image(entry.read_spatial, found.path, options, backed, on_progress)
    if found.kind == "image":
        raise ReadError(path, "is an image. Choose the Space Ranger folder or .h5ad file that it belongs to.")
    raise ReadError(path, found.words)


def _read_with_image(
    read: SpatialReader, path: Path, options: ReadOptions, backed: bool, on_progress: ProgressCallback
) -> AnnData:
    """Read spots and a separate image, and report the problems of both at once."""
    problems: list[str] = []
    image = None
    try:
        image = None if options.image is None else read_overview(options.image, on_progress)
    except ReadError as error:
        problems += error.problems
    try:
        adata = read(path, options, backed=backed, on_progress=on_progress)
    except InputError as error:
        raise ReadError(path, [*problems, *error.problems]) from error
    except MemoryError as error:
        raise ReadError(path, NO_MEMORY) from error
    if problems:
        close_files(adata)
        raise ReadError(path, problems)
    if options.section is not None:
        adata = only_section(adata, options.section, path)
    if image is not None:
        add_overview(adata, image)
    return adata


def bin_sizes(path: str | os.PathLike[str], format: str | None = None) -> list[BinSize]:
    """Return the bin sizes that `read_spatial` can read at `path`, the smallest first; fast.

    Returns
    -------
    list of BinSize
        ``um`` and ``n_bins``; empty if the data have no bins.

    Examples
    --------
    >>> bin_sizes("no/such/folder")
    []
    """
    found = detect_format(path, format)
    entry = format_of(found.kind)
    return [] if entry is None or entry.bins_in is None else entry.bins_in(found.path)


def choices(path: str | os.PathLike[str], options: ReadOptions = DEFAULT) -> Choices:
    """Return which options of `read_spatial` apply to a path, and their values; fast, and raises nothing.

    Parameters
    ----------
    path : str or Path
    options : ReadOptions
        The options that are set already.

    Examples
    --------
    >>> choices("no/such/folder")
    Choices(bin_sizes=(), tables=(), coordinates=False, own_coordinates=False, sections=())
    """
    found = detect_with(path, options)
    entry = format_of(found.kind)
    try:
        if entry is None or entry.name == TABLES:
            return Choices(coordinates=entry is not None or takes_coordinates(found.path))
        if entry.name in JOINED:
            return Choices(coordinates=True, own_coordinates=True)
        return Choices(
            () if entry.bins_in is None else tuple(entry.bins_in(found.path)),
            () if entry.tables_in is None else tuple(entry.tables_in(found.path, options)),
        )
    except (OSError, ReadError):
        return Choices()  # `read_spatial` reports what is wrong


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
        signatures, the mean counts of each gene in each type. Several references are joined (see
        `io.readers.join_references`).
    cell_type_key : str, optional
        Column of ``obs`` that must exist. By default no column is required (see `label_columns`).
    labels : str or Path, optional
        Table of cells and their types (CSV or TSV), if it is not in the same folder as the counts. The most
        likely column of types is then called ``cell_type``.
    backed : bool, optional
        Leave the counts of a single ``.h5ad`` file in it, as `read_spatial` does. Other references are read.
    on_progress : callable, optional
        Called for each part that is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        (n_cells, n_genes), as in the file; for signatures (n_cell_types, n_genes), see `is_signatures`.
        ``uns['spotmix_notes']`` how cells got their labels, and what was joined (see `reading_notes`).

    Raises
    ------
    ReadError
        If the file is not a reference, is damaged, or lacks the column (the message names likely ones); for
        several references, with all problems of each. `MissingLabels` if only a table of labels is missing.

    Examples
    --------
    >>> read_reference("no/such/cells.h5ad")
    Traceback (most recent call last):
    napari_spotmix.base.errors.ReadError: no/such/cells.h5ad: does not exist. Check the spelling of the path.
    """
    given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not given:
        raise InputError("`path` must name at least one reference, found an empty list.")
    paths = [local_path(one, on_progress=on_progress) for one in given]
    table = None if labels is None else Path(labels)

    def read(one: Path) -> AnnData:
        try:
            return read_labeled(
                one,
                cell_type_key=cell_type_key,
                labels=table,
                backed=backed and len(paths) == 1,
                on_progress=on_progress,
            )
        except MemoryError as error:
            raise ReadError(one, NO_MEMORY) from error

    if len(paths) == 1:
        return read(paths[0])
    return join_references(_read_each(paths, read), paths, cell_type_key)


def _read_each(paths: Sequence[Path], read: Callable[[Path], AnnData]) -> list[AnnData]:
    """Read all paths, and report the problems of all at once."""
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
