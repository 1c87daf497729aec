"""Read the output folder of 10x Genomics' Space Ranger, versions 1 to 4, for standard Visium slides.

The bins of one size of Visium HD have the same files, and are read by the same functions (see `visium_hd`).

References
----------
10x Genomics, "Spatial outputs" (Space Ranger 1.0 to 4.0). The AnnData has the layout of
``scanpy.read_visium``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import (
    ARRAY_COL,
    ARRAY_ROW,
    IMAGES,
    IN_TISSUE,
    METADATA,
    RESOLUTIONS,
    SCALE_FACTORS,
    SPATIAL,
    SPOT_DIAMETER,
    image_scale,
)
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count, quoted
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import assembled, is_on_disk, kept_open
from napari_spotmix.io.problems import Gatherer, as_read_error, listed
from napari_spotmix.io.readers.image_overview import spots_outside_image
from napari_spotmix.io.readers.images import read_pixels
from napari_spotmix.io.readers.json_files import read_json
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.tenx_matrix import CountMatrix, matrix_files, mtx_files_in, read_matrix
from napari_spotmix.io.readers.tenx_positions import POSITION_FILES, read_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PART_OF_A_RUN",
    "PositionsReader",
    "SpaceRangerFiles",
    "first_file",
    "image_names",
    "find_run_files",
    "has_matrix",
    "has_positions",
    "read_run_files",
    "read_space_ranger",
    "find_space_ranger",
]

#: In order of preference; a name may have a prefix, as in downloads from GEO.
_MATRICES = (
    "filtered_feature_bc_matrix.h5",
    "filtered_feature_bc_matrix",
    "filtered_gene_bc_matrices_h5.h5",
    "filtered_gene_bc_matrices/*",
    "raw_feature_bc_matrix.h5",
    "raw_feature_bc_matrix",
    "raw_gene_bc_matrices_h5.h5",
    "raw_gene_bc_matrices/*",
    "matrix.mtx.gz",
    "matrix.mtx",
)
_MATRIX_FILE = re.compile(r"((filtered|raw)_(feature_bc_matrix|gene_bc_matrices_h5)\.h5|matrix\.mtx(\.gz)?)$")
_STAGE = "Reading spots"
#: Names of folders that are the same in every run; their parent folder is named after the sample.
PART_OF_A_RUN = re.compile(r"outs|binned_outputs|segmented_outputs|square_\d+um")
#: As `read_positions`: takes a file, the folder of the run, the barcodes and `on_progress`.
PositionsReader = Callable[[Path, Path, "pd.Index[str] | None", ProgressCallback], pd.DataFrame]


def find_space_ranger(path: Path) -> Path | None:
    """Return the folder, or the one named ``outs`` in it, that holds a count matrix and positions.

    Positions are in a folder ``spatial``, or next to the matrix, as in downloads from GEO. Of several samples
    in one folder, `path` may be the matrix of one, whose prefix its other files have too.
    """
    if path.is_file():
        return path if _prefix_of(path) and has_positions(path.parent, _prefix_of(path)) else None
    for folder in (path, path / "outs"):
        if has_matrix(folder) and (folder / "spatial").is_dir():
            return folder
        if (has_matrix(folder) or mtx_files_in(folder)) and has_positions(folder):
            return folder
    return None


def _prefix_of(matrix: Path) -> str:
    """Return what is before the name that Space Ranger gave to a matrix; "" for other files."""
    found = _MATRIX_FILE.search(matrix.name)
    return "" if found is None else matrix.name[: found.start()]


def has_positions(folder: Path, prefix: str = "") -> bool:
    """Return whether a folder, or ``spatial`` in it, holds positions of spots (of one sample, by prefix)."""
    names = [prefix + name if prefix else f"*{name}" for name in POSITION_FILES]
    return any(True for one in (folder, folder / "spatial") for name in names for _ in one.glob(name))


def has_matrix(folder: Path) -> bool:
    """Return whether `folder` holds a count matrix with one of Space Ranger's names."""
    patterns = ("*feature_bc_matrix", "*feature_bc_matrix.h5", "*gene_bc_matrices", "*gene_bc_matrices_h5.h5")
    return any(True for pattern in patterns for _ in folder.glob(pattern))


@dataclass(frozen=True)
class SpaceRangerFiles:
    """The files of a run that are read; None for a missing one.

    Attributes
    ----------
    root : Path
        The folder that was given; messages name files relative to it.
    folder : Path
        The folder of the matrix and of ``spatial``.
    matrix, positions, scale_factors : Path
    images : dict of str to Path
        By resolution, ``hires`` and ``lowres``.
    """

    root: Path
    folder: Path
    matrix: Path
    positions: Path
    scale_factors: Path | None
    images: dict[str, Path]

    @property
    def is_raw(self) -> bool:
        """True if the matrix also holds spots that are not under tissue."""
        return "filtered_" not in self.matrix.relative_to(self.folder).parts[0]

    @property
    def files(self) -> list[Path]:
        """Every file that is read, in a fixed order."""
        others = [
            self.positions,
            *([self.scale_factors] if self.scale_factors else []),
            *self.images.values(),
        ]
        return [*matrix_files(self.matrix), *others]


def find_run_files(root: Path, folder: Path | None = None) -> SpaceRangerFiles:
    """Find the files of the Space Ranger run in `root`, or those of one bin size, in `folder`.

    Raises
    ------
    ReadError
        If the matrix or the positions are missing or ambiguous.
    """
    prefix = _prefix_of(root) if root.is_file() else ""
    given, root = root, root.parent if root.is_file() else root
    folder = folder or root
    gather = Gatherer(given)
    spatial = folder / "spatial" if (folder / "spatial").is_dir() else folder
    matrix = positions = scale_factors = None
    with gather:
        matrix = given if given.is_file() else first_file(root, folder, _MATRICES)
    with gather:
        positions = first_file(root, spatial, POSITION_FILES, prefix)
    with gather:
        in_json = ("scalefactors_json.json", "scalefactors_json.json.gz")
        scale_factors = first_file(root, spatial, in_json, prefix)
    images = {}
    for resolution in RESOLUTIONS:
        with gather:
            of_image = image_names(resolution)
            # Bins share the images of their run: their folder may hold only links without targets.
            images[resolution] = first_file(root, spatial, of_image, prefix) or first_file(
                root, root / "spatial", of_image, prefix
            )
    if matrix is None:
        gather.problems.append(
            "No count matrix: expected `filtered_feature_bc_matrix.h5` or a folder of that name. "
            "Copy it from the run."
        )
    if positions is None:
        gather.problems.append(_no_positions(root, spatial))
    if gather.problems or matrix is None or positions is None:
        raise gather.error()
    chosen = {key: path for key, path in images.items() if path}
    return SpaceRangerFiles(root, folder, matrix, positions, scale_factors, chosen)


def _no_positions(root: Path, spatial: Path) -> str:
    name = spatial.relative_to(root).as_posix()
    found = (
        f"found only {listed(sorted(entry.name for entry in spatial.iterdir()))}"
        if spatial.is_dir()
        else "but the folder is missing"
    )
    return (
        f"No positions of spots: expected `{name}/tissue_positions.csv` or "
        f"`{name}/tissue_positions_list.csv` (Visium HD: `tissue_positions.parquet`), {found}. "
        "Copy it from the run."
    )


def image_names(resolution: str) -> tuple[str, ...]:
    endings = [suffix + zipped for zipped in ("", ".gz") for suffix in ("png", "jpg", "jpeg")]
    return tuple(f"tissue_{resolution}_image.{ending}" for ending in endings)


def first_file(root: Path, folder: Path, names: Iterable[str], prefix: str = "") -> Path | None:
    """Return the file with the first name that exists, with the prefix, or with or without any."""
    for name in names:
        found = _existing(folder, prefix + name) or ([] if prefix else _existing(folder, f"*{name}"))
        if len(found) > 1:
            paths = listed([path.relative_to(root).as_posix() for path in found])
            raise ReadError(
                root,
                f"Expected the files of one section, found several: {paths}. "
                "If their names have prefixes, choose the matrix of one section; otherwise move those of "
                "other sections to another folder.",
            )
        if found:
            return found[0]
    return None


def _existing(folder: Path, pattern: str) -> list[Path]:
    """Return the paths that match, without hidden files and links without a target."""
    return sorted(path for path in folder.glob(pattern) if path.exists() and not path.name.startswith("."))


def read_space_ranger(
    root: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read the run whose ``spatial`` folder is in `root`.

    Parameters
    ----------
    root : Path
        Usually named ``outs``.
    options : ReadOptions
        If it names an image, a missing image is not noted.
    backed : bool, optional
        Leave the counts in their HDF5 file, unless features or spots have to be dropped.
    on_progress : callable, optional
        Called for each part that is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        As :func:`napari_spotmix.io.read_spatial` describes.

    Raises
    ------
    ReadError
        All problems of the folder: missing or damaged files, barcodes without a position.
    """
    return read_run_files(find_run_files(root), options, backed=backed, on_progress=on_progress)


def read_run_files(
    run: SpaceRangerFiles,
    options: ReadOptions,
    *,
    backed: bool,
    on_progress: ProgressCallback,
    read_positions: PositionsReader = read_positions,
) -> AnnData:
    """Read the files of a run; as `read_space_ranger`."""
    with kept_open() as files:
        return _read_run(run, options, files if backed else None, on_progress, read_positions)


def _read_run(
    run: SpaceRangerFiles,
    options: ReadOptions,
    files: ExitStack | None,
    on_progress: ProgressCallback,
    read_positions: PositionsReader,
) -> AnnData:
    root = run.root
    gather = Gatherer(root)
    notes: list[str] = []
    matrix = positions = None
    on_progress(Progress(_STAGE, 0, 4))
    with gather:
        matrix = _read_genes(run, notes, files, on_progress)
    on_progress(Progress(_STAGE, 1, 4))
    with gather:
        wanted = None if matrix is None else matrix.barcodes
        positions = read_positions(run.positions, root, wanted, on_progress)
    on_progress(Progress(_STAGE, 2, 4))
    scale_factors: dict[str, float] | None = None
    with gather:
        scale_factors = _read_scale_factors(run, notes)
    images = _read_images(run, scale_factors, gather, notes)
    if not run.images and options.image is None:
        notes.append(_no_image(run))
    on_progress(Progress(_STAGE, 3, 4))
    if matrix is not None and positions is not None:
        with gather:
            _check_positions(matrix, positions, run)
    if gather.problems or matrix is None or positions is None or scale_factors is None:
        raise gather.error()
    on_progress(Progress(_STAGE, 3, 4))
    adata = _assemble(matrix, positions, only_tissue=run.is_raw)
    if files is not None and not is_on_disk(adata.X):
        notes.append(f"The counts were read into memory: {_why_in_memory(run)}.")
    adata.uns[SPATIAL] = {_library_id(matrix, root): _library(matrix, images, scale_factors)}
    for resolution, image in images.items():
        with np.errstate(over="ignore"):  # what is infinite is outside of the image
            scaled = adata.obsm[SPATIAL] * scale_factors[image_scale(resolution)]
        notes += spots_outside_image(scaled, image, f"the {resolution} image")
    add_notes(adata, notes)
    on_progress(Progress(_STAGE, 4, 4))
    return adata


def _no_image(run: SpaceRangerFiles) -> str:
    words = (
        "No image of the tissue was found (`spatial/tissue_hires_image.png` or `..lowres..`). "
        "If you have the full-resolution image that Space Ranger was run with, give it as `image` "
        "(in napari: Other image)."
    )
    if _existing(run.folder / "spatial", "*cytassist_image.tif*"):
        words += " The CytAssist image was not used: the coordinates do not refer to its pixels."
    return words


def _read_genes(
    run: SpaceRangerFiles, notes: list[str], files: ExitStack | None, on_progress: ProgressCallback
) -> CountMatrix:
    matrix = read_matrix(run.matrix, run.root, None if run.is_raw else files, on_progress)
    genes = matrix.genes_only()
    others = len(matrix.features) - len(genes.features)
    if others and not len(genes.features):
        kinds = listed(sorted(matrix.features["feature_types"].unique()))
        name = run.matrix.relative_to(run.root).as_posix()
        raise ReadError(
            run.root,
            f"`{name}` must hold features of type 'Gene Expression', found only {kinds}. "
            "Choose a run with gene expression.",
        )
    if others:
        features, were = count(others, "feature"), agreeing(others, "were")
        notes.append(f"{features} of other types than gene expression (such as antibodies) {were} dropped.")
    if run.is_raw:
        notes.append(
            "The filtered matrix is missing: the spots under tissue were read from the raw matrix, "
            "by `in_tissue` of the positions."
        )
    return genes


def _why_in_memory(run: SpaceRangerFiles) -> str:
    if run.matrix.suffix != ".h5":
        return "Matrix Market files cannot be read in blocks"
    return "features or spots of their file were dropped"


def _read_scale_factors(run: SpaceRangerFiles, notes: list[str]) -> dict[str, float]:
    if run.scale_factors is None:
        notes.append("`spatial/scalefactors_json.json` is missing: the size of spots is unknown.")
        return {}
    name = run.scale_factors.relative_to(run.root).as_posix()
    with as_read_error(run.root, name):
        content = read_json(run.scale_factors)
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ReadError(
            run.root, f"`{name}` must hold a JSON object of numbers, found a {kind}. Copy it from the run."
        )
    wrong = [key for key, value in content.items() if not _is_positive(value)]
    if wrong:
        found = ", ".join(f"{key} = {quoted(content[key])}" for key in wrong[:4])
        raise ReadError(
            run.root,
            f"`{name}`: every factor must be a number above 0, found {found}. Copy it from the run.",
        )
    if SPOT_DIAMETER not in content:
        notes.append(f"`{name}` has no spot_diameter_fullres: the size of spots is unknown.")
    return {key: float(value) for key, value in content.items()}


def _is_positive(value: Any) -> bool:
    # Whole numbers of JSON have any size.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value <= sys.float_info.max


def _read_images(
    run: SpaceRangerFiles, scale_factors: dict[str, float] | None, gather: Gatherer, notes: list[str]
) -> dict[str, np.ndarray]:
    """Read the images with a scale factor; if the factors are damaged, read all images to check them."""
    images: dict[str, np.ndarray] = {}
    for resolution, path in run.images.items():
        factor = image_scale(resolution)
        if scale_factors is not None and factor not in scale_factors:
            notes.append(f"The {resolution} image was dropped: its scale factor {factor} is missing.")
            continue
        with gather, as_read_error(run.root, path.relative_to(run.root).as_posix()):
            images[resolution] = read_pixels(path)
    return images


def _check_positions(matrix: CountMatrix, positions: pd.DataFrame, run: SpaceRangerFiles) -> None:
    if positions.index is matrix.barcodes:  # skips a lookup of millions, which takes seconds
        return
    lost = matrix.barcodes[~matrix.barcodes.isin(positions.index)]
    if len(lost):
        raise ReadError(
            run.root,
            f"{len(lost):,} of {len(matrix.barcodes):,} barcodes of `{run.matrix.name}` "
            f"{agreeing(len(lost), 'are')} missing from `{run.positions.name}`: "
            f"{listed(list(lost), most=3)}. "
            f"Take both from the same run{_and_bin_size(run)}.",
        )


def _and_bin_size(run: SpaceRangerFiles) -> str:
    return " and bin size" if run.positions.suffix == ".parquet" else ""


def _assemble(matrix: CountMatrix, positions: pd.DataFrame, *, only_tissue: bool) -> AnnData:
    table = positions if positions.index is matrix.barcodes else positions.loc[matrix.barcodes]
    counts = matrix.counts
    if only_tissue:
        keep = (table[IN_TISSUE] == 1).to_numpy()
        table, counts = table[keep], counts[keep]
    obs = table[[column for column in (IN_TISSUE, ARRAY_ROW, ARRAY_COL) if column in table]].copy()
    var = matrix.features.astype({"feature_types": "category"})
    xy = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    return assembled({"X": counts, "obs": obs, "var": var, "obsm": {SPATIAL: xy}})


def _library_id(matrix: CountMatrix, root: Path) -> str:
    folder = root.resolve()
    names = (part.name for part in (folder, *folder.parents) if not PART_OF_A_RUN.fullmatch(part.name))
    return matrix.metadata.get("library_id") or next(names, "") or "library"


def _library(
    matrix: CountMatrix, images: dict[str, np.ndarray], scale_factors: dict[str, float]
) -> dict[str, Any]:
    names: Sequence[str] = ("chemistry_description", "software_version")
    metadata = {name: matrix.metadata[name] for name in names if name in matrix.metadata}
    return {IMAGES: images, SCALE_FACTORS: scale_factors, METADATA: metadata}
