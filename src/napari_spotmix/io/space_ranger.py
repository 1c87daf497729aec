"""Read the output folder of 10x Genomics' Space Ranger, versions 1 to 3, for standard Visium slides.

References
----------
10x Genomics, "Spatial outputs" (Space Ranger 1.0 to 3.1). The result is laid out as by
``scanpy.read_visium``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.errors import ReadError
from napari_spotmix.io._matrix import Matrix, matrix_files, read_matrix
from napari_spotmix.io._notes import add_notes
from napari_spotmix.io._problems import Gatherer, listed, reported
from napari_spotmix.io.images import read_pixels
from napari_spotmix.io.on_disk import is_on_disk, kept_open
from napari_spotmix.io.reading import DEFAULT, Reading
from napari_spotmix.keys import SPATIAL
from napari_spotmix.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Layout", "find_layout", "has_matrix", "is_hd", "read_space_ranger", "space_ranger_folder"]

_COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
_RESOLUTIONS = ("hires", "lowres")
#: In order of preference; a name may follow a prefix, as in downloads from GEO.
_MATRICES = (
    "filtered_feature_bc_matrix.h5",
    "filtered_feature_bc_matrix",
    "filtered_gene_bc_matrices_h5.h5",
    "filtered_gene_bc_matrices/*",
    "raw_feature_bc_matrix.h5",
    "raw_feature_bc_matrix",
    "raw_gene_bc_matrices_h5.h5",
    "raw_gene_bc_matrices/*",
)
_STAGE = "Reading spots"


def space_ranger_folder(path: Path) -> Path | None:
    """Return `path`, or the ``outs`` folder in it, if that is the output of a run for standard Visium."""
    for folder in (path, path / "outs"):
        if has_matrix(folder) and (folder / "spatial").is_dir() and not is_hd(folder):
            return folder
    return None


def is_hd(folder: Path) -> bool:
    """True for a Visium HD run or one of its bin sizes."""
    parquet = (folder / "spatial").glob("*tissue_positions.parquet")
    square = folder.name.startswith("square_") and folder.name.endswith("um")
    bins = folder.name == "binned_outputs" or (folder / "binned_outputs").is_dir()
    return square or bins or any(parquet)


def has_matrix(folder: Path) -> bool:
    """True if a count matrix by Space Ranger's names lies in `folder`."""
    patterns = ("*feature_bc_matrix", "*feature_bc_matrix.h5", "*gene_bc_matrices", "*gene_bc_matrices_h5.h5")
    return any(True for pattern in patterns for _ in folder.glob(pattern))


@dataclass(frozen=True)
class Layout:
    """Which files of a folder are read; None for those that are not there."""

    root: Path
    matrix: Path
    positions: Path
    scale_factors: Path | None
    images: dict[str, Path]

    @property
    def is_raw(self) -> bool:
        """True if the matrix holds spots outside of the tissue too."""
        return "filtered_" not in self.matrix.relative_to(self.root).parts[0]

    @property
    def files(self) -> list[Path]:
        """Every file that is read, in a fixed order."""
        others = [
            self.positions,
            *([self.scale_factors] if self.scale_factors else []),
            *self.images.values(),
        ]
        return [*matrix_files(self.matrix), *others]


def find_layout(root: Path) -> Layout:
    """Find the files of the Space Ranger run whose ``spatial`` folder lies in `root`.

    Raises
    ------
    ReadError
        If the matrix or the positions are missing, or there are several to choose from.
    """
    gather = Gatherer(root)
    spatial = root / "spatial"
    matrix = positions = scale_factors = None
    with gather:
        matrix = _first(root, root, _MATRICES)
    with gather:
        names = ("tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions*.csv")
        positions = _first(root, spatial, (*names, *(f"{name}.gz" for name in names)))
    with gather:
        scale_factors = _first(root, spatial, ("scalefactors_json.json",))
    images = {}
    for resolution in _RESOLUTIONS:
        with gather:
            images[resolution] = _first(root, spatial, _image_names(resolution))
    if matrix is None:
        gather.problems.append(
            "No count matrix: expected `filtered_feature_bc_matrix.h5` or a folder of that name."
        )
    if positions is None:
        gather.problems.append(
            "No positions of spots: expected `spatial/tissue_positions.csv` or "
            "`spatial/tissue_positions_list.csv`, found in `spatial` only "
            f"{listed(sorted(entry.name for entry in spatial.iterdir()))}. Copy it from the run."
        )
    gather.raise_all()
    assert matrix is not None
    assert positions is not None
    return Layout(root, matrix, positions, scale_factors, {key: path for key, path in images.items() if path})


def _image_names(resolution: str) -> list[str]:
    return [f"tissue_{resolution}_image.{suffix}" for suffix in ("png", "jpg", "jpeg")]


def _first(root: Path, folder: Path, names: Iterable[str]) -> Path | None:
    """Return the file by the first name that exists, alone or after a prefix."""
    for name in names:
        exact = sorted(folder.glob(name))
        found = exact or sorted(path for path in folder.glob(f"*{name}") if not path.name.startswith("."))
        if len(found) > 1:
            paths = listed([path.relative_to(root).as_posix() for path in found])
            raise ReadError(
                root, f"Several files to choose from: {paths}. Keep those of one section in the folder."
            )
        if found:
            return found[0]
    return None


def read_space_ranger(
    root: Path, how: Reading = DEFAULT, *, backed: bool = False, on_progress: ProgressCallback = silent
) -> AnnData:
    """Read the run whose ``spatial`` folder lies in `root`.

    Parameters
    ----------
    root : Path
        Mostly called ``outs``.
    how : Reading
        Nothing of it is used here.
    backed : bool, optional
        Leave the counts in their HDF5 file where nothing of it has to be left out.
    on_progress : callable, optional
        Told of each part that is read.

    Returns
    -------
    AnnData
        As :func:`napari_spotmix.io.read_spatial` describes.

    Raises
    ------
    ReadError
        All problems of the folder: missing or damaged files, barcodes without a position.
    """
    with kept_open() as files:
        return _read_run(find_layout(root), files if backed else None, on_progress)


def _read_run(layout: Layout, files: ExitStack | None, on_progress: ProgressCallback) -> AnnData:
    root = layout.root
    gather = Gatherer(root)
    notes: list[str] = []
    matrix = positions = None
    on_progress(Progress(_STAGE, 0, 4))
    with gather:
        matrix = _read_genes(layout, notes, files)
    on_progress(Progress(_STAGE, 1, 4))
    with gather:
        positions = read_positions(layout.positions, root)
    on_progress(Progress(_STAGE, 2, 4))
    scale_factors: dict[str, float] | None = None
    with gather:
        scale_factors = _read_scale_factors(layout, notes)
    images = _read_images(layout, scale_factors, gather, notes)
    on_progress(Progress(_STAGE, 3, 4))
    if matrix is not None and positions is not None:
        with gather:
            _check_positions(matrix, positions, layout)
    gather.raise_all()
    assert matrix is not None
    assert positions is not None
    assert scale_factors is not None
    adata = _assemble(matrix, positions, only_tissue=layout.is_raw)
    if files is not None and not is_on_disk(adata.X):
        notes.append(f"The counts were read into memory: {_why_in_memory(layout)}.")
    adata.uns[SPATIAL] = {_library_id(matrix, root): _library(matrix, images, scale_factors)}
    notes += _spots_off_image(adata.obsm[SPATIAL], images, scale_factors)
    add_notes(adata, notes)
    on_progress(Progress(_STAGE, 4, 4))
    return adata


def _read_genes(layout: Layout, notes: list[str], files: ExitStack | None) -> Matrix:
    matrix = read_matrix(layout.matrix, layout.root, None if layout.is_raw else files)
    genes = matrix.genes_only()
    others = len(matrix.features) - len(genes.features)
    if others and not len(genes.features):
        kinds = listed(sorted(matrix.features["feature_types"].unique()))
        name = layout.matrix.relative_to(layout.root).as_posix()
        raise ReadError(layout.root, f"`{name}` holds no gene expression, only {kinds}.")
    if others:
        notes.append(f"{others:,} features that are not gene expression (such as antibodies) were left out.")
    if layout.is_raw:
        notes.append(
            "There was no filtered matrix: the spots under tissue were taken from the raw one, "
            "by `in_tissue` of the positions."
        )
    return genes


def _why_in_memory(layout: Layout) -> str:
    if layout.matrix.is_dir():
        return "they lie in text files, which cannot be read in parts"
    return "not all features and spots of their file are used"


def read_positions(path: Path, root: Path) -> pd.DataFrame:
    """Read the positions of spots, with or without a header, by the first cell and not by the file's name.

    Returns
    -------
    DataFrame
        Index barcodes; columns in_tissue, array_row, array_col (int64), and pxl_row_in_fullres,
        pxl_col_in_fullres (float64, full-resolution pixels).

    Raises
    ------
    ReadError
        If a column is missing, a value is no number (says in which row) or a barcode comes twice.
    """
    name = path.relative_to(root).as_posix()
    with reported(root, name):
        table = pd.read_csv(
            path, header=None, dtype=str, na_filter=False, encoding="utf-8-sig", skipinitialspace=True
        )
    table = _named_columns(table, root, name)
    barcodes = pd.Index(table["barcode"].str.strip().to_list(), dtype=object)
    problems: list[str] = []
    columns = {column: _numbers(table[column], name, problems) for column in _COLUMNS[1:]}
    if not problems and not np.isin(columns["in_tissue"], (0, 1)).all():
        problems.append(f"`{name}`: in_tissue must be 0 or 1 in every row.")
    if barcodes.has_duplicates:
        twice = barcodes[barcodes.duplicated()].unique()
        problems.append(
            f"`{name}` holds {len(twice)} barcodes more than once: {listed(list(twice), most=3)}."
        )
    if problems:
        raise ReadError(root, problems)
    whole = {column: values.astype(np.int64) for column, values in columns.items() if column in _COLUMNS[:4]}
    return pd.DataFrame({**columns, **whole}, index=barcodes)


def _named_columns(table: pd.DataFrame, root: Path, name: str) -> pd.DataFrame:
    first = [str(cell).strip() for cell in table.iloc[0]]
    has_header = "barcode" in first[0].lower()
    if has_header:
        table = table.iloc[1:].set_axis(first, axis=1)
        missing = [column for column in _COLUMNS if column not in first]
        if missing:
            raise ReadError(root, f"`{name}` has no column {listed(missing)}; found {listed(first)}.")
        return table
    if len(first) != len(_COLUMNS):
        raise ReadError(
            root,
            f"`{name}` has {len(first)} columns where {len(_COLUMNS)} were expected "
            f"({', '.join(_COLUMNS)}, separated by commas). Its first row is {listed(first)}.",
        )
    return table.set_axis(list(_COLUMNS), axis=1)


def _numbers(cells: pd.Series[str], name: str, problems: list[str]) -> np.ndarray:
    """Return the cells as float64; add a problem that names the first one that is no number."""
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        row = int(cells.index[wrong[0]]) + 1
        others = f" and {len(wrong) - 1:,} more like it" if len(wrong) > 1 else ""
        problems.append(
            f"`{name}`: {cells.name} must be a number in every row, "
            f"found {cells.iloc[wrong[0]]!r} in row {row}{others}."
        )
    return values


def _read_scale_factors(layout: Layout, notes: list[str]) -> dict[str, float]:
    if layout.scale_factors is None:
        notes.append("`spatial/scalefactors_json.json` is missing: the size of spots is not known.")
        return {}
    name = layout.scale_factors.relative_to(layout.root).as_posix()
    with reported(layout.root, name):
        content = json.loads(layout.scale_factors.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict):
        raise ReadError(layout.root, f"`{name}` must hold one JSON object of numbers.")
    wrong = [key for key, value in content.items() if not _is_positive(value)]
    if wrong:
        found = ", ".join(f"{key} = {content[key]!r}" for key in wrong[:4])
        raise ReadError(layout.root, f"`{name}`: every factor must be a number above 0, found {found}.")
    if "spot_diameter_fullres" not in content:
        notes.append(f"`{name}` has no spot_diameter_fullres: the size of spots is not known.")
    return {key: float(value) for key, value in content.items()}


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def _read_images(
    layout: Layout, scale_factors: dict[str, float] | None, gather: Gatherer, notes: list[str]
) -> dict[str, np.ndarray]:
    """Read the images that can be placed; all of them, to check them, where the factors are damaged."""
    images: dict[str, np.ndarray] = {}
    for resolution, path in layout.images.items():
        factor = f"tissue_{resolution}_scalef"
        if scale_factors is not None and factor not in scale_factors:
            notes.append(f"The {resolution} image was left out: without {factor} its place is not known.")
            continue
        with gather, reported(layout.root, path.relative_to(layout.root).as_posix()):
            images[resolution] = read_pixels(path)
    if not layout.images:
        notes.append("No image of the tissue was found (`spatial/tissue_hires_image.png` or `..lowres..`).")
    return images


def _check_positions(matrix: Matrix, positions: pd.DataFrame, layout: Layout) -> None:
    lost = matrix.barcodes[~matrix.barcodes.isin(positions.index)]
    if len(lost):
        raise ReadError(
            layout.root,
            f"{len(lost):,} of {len(matrix.barcodes):,} barcodes of `{layout.matrix.name}` are missing from "
            f"`{layout.positions.name}`: {listed(list(lost), most=3)}. Take both from the same run.",
        )


def _assemble(matrix: Matrix, positions: pd.DataFrame, *, only_tissue: bool) -> AnnData:
    table = positions.loc[matrix.barcodes]
    counts = matrix.counts
    if only_tissue:
        keep = (table["in_tissue"] == 1).to_numpy()
        table, counts = table[keep], counts[keep]
    obs = table[list(_COLUMNS[1:4])].copy()
    var = matrix.features.astype({"feature_types": "category"})
    xy = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    # Set one by one: the constructor warns of duplicate gene names, which are expected here.
    adata = AnnData(counts)
    adata.obs, adata.var = obs, var
    adata.obsm[SPATIAL] = xy
    return adata


def _spots_off_image(
    xy: np.ndarray, images: dict[str, np.ndarray], scale_factors: dict[str, float]
) -> list[str]:
    """Tell of an image that does not lie under all spots: it may belong to another section."""
    notes = []
    for resolution, image in images.items():
        scaled = xy * scale_factors[f"tissue_{resolution}_scalef"]
        off = ((scaled < 0) | (scaled > image.shape[1::-1])).any(axis=1).sum()
        if off:
            notes.append(
                f"{off:,} of {len(xy):,} spots lie outside of the {resolution} image: "
                "image and positions may belong to different sections."
            )
    return notes


def _library_id(matrix: Matrix, root: Path) -> str:
    folder = root.resolve()
    name = folder.parent.name if folder.name == "outs" else folder.name
    return matrix.metadata.get("library_id") or name or "library"


def _library(
    matrix: Matrix, images: dict[str, np.ndarray], scale_factors: dict[str, float]
) -> dict[str, Any]:
    names: Sequence[str] = ("chemistry_description", "software_version")
    metadata = {name: matrix.metadata[name] for name in names if name in matrix.metadata}
    return {"images": images, "scalefactors": scale_factors, "metadata": metadata}
