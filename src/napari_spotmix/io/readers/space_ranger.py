"""Read the output folder of 10x Genomics' Space Ranger, versions 1 to 4, for standard Visium slides.

One size of bins of Visium HD is laid out alike, and is read by the same functions (see `visium_hd`).

References
----------
10x Genomics, "Spatial outputs" (Space Ranger 1.0 to 4.0). The result is laid out as by
``scanpy.read_visium``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
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
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import assembled, is_on_disk, kept_open
from napari_spotmix.io.problems import Gatherer, listed, reported
from napari_spotmix.io.readers.images import read_pixels
from napari_spotmix.io.readers.matrix import Matrix, matrix_files, read_matrix
from napari_spotmix.io.readers.overview import spots_off_image
from napari_spotmix.io.readers.positions import POSITION_FILES, read_positions
from napari_spotmix.io.readers.reading import DEFAULT, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PART_OF_A_RUN",
    "Layout",
    "find_layout",
    "has_matrix",
    "read_layout",
    "read_space_ranger",
    "space_ranger_folder",
]

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
#: Names of folders that are the same in every run; the folder around them is named after the sample.
PART_OF_A_RUN = re.compile(r"outs|binned_outputs|square_\d+um")


def space_ranger_folder(path: Path) -> Path | None:
    """Return `path`, or the ``outs`` folder in it, if it holds counts beside a folder ``spatial``."""
    for folder in (path, path / "outs"):
        if has_matrix(folder) and (folder / "spatial").is_dir():
            return folder
    return None


def has_matrix(folder: Path) -> bool:
    """True if a count matrix by Space Ranger's names lies in `folder`."""
    patterns = ("*feature_bc_matrix", "*feature_bc_matrix.h5", "*gene_bc_matrices", "*gene_bc_matrices_h5.h5")
    return any(True for pattern in patterns for _ in folder.glob(pattern))


@dataclass(frozen=True)
class Layout:
    """Which files of a run are read; None for those that are not there.

    `root` is the folder that was asked for, after which the others are called; the matrix lies in `folder`,
    beside ``spatial``.
    """

    root: Path
    folder: Path
    matrix: Path
    positions: Path
    scale_factors: Path | None
    images: dict[str, Path]

    @property
    def is_raw(self) -> bool:
        """True if the matrix holds spots outside of the tissue too."""
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


def find_layout(root: Path, folder: Path | None = None) -> Layout:
    """Find the files of the Space Ranger run in `root`, or of one of its sizes of bins, in `folder`.

    Raises
    ------
    ReadError
        If the matrix or the positions are missing, or there are several to choose from.
    """
    folder = folder or root
    gather = Gatherer(root)
    spatial = folder / "spatial"
    matrix = positions = scale_factors = None
    with gather:
        matrix = _first(root, folder, _MATRICES)
    with gather:
        positions = _first(root, spatial, POSITION_FILES)
    with gather:
        scale_factors = _first(root, spatial, ("scalefactors_json.json",))
    images = {}
    for resolution in RESOLUTIONS:
        with gather:
            names = _image_names(resolution)
            # Bins share the images of their run: beside each size they may be links that were not copied.
            images[resolution] = _first(root, spatial, names) or _first(root, root / "spatial", names)
    if matrix is None:
        gather.problems.append(
            "No count matrix: expected `filtered_feature_bc_matrix.h5` or a folder of that name."
        )
    if positions is None:
        gather.problems.append(_no_positions(root, spatial))
    gather.raise_all()
    assert matrix is not None
    assert positions is not None
    chosen = {key: path for key, path in images.items() if path}
    return Layout(root, folder, matrix, positions, scale_factors, chosen)


def _no_positions(root: Path, spatial: Path) -> str:
    name = spatial.relative_to(root).as_posix()
    found = (
        listed(sorted(entry.name for entry in spatial.iterdir())) if spatial.is_dir() else "no such folder"
    )
    return (
        f"No positions of spots: expected `{name}/tissue_positions.csv` or "
        f"`{name}/tissue_positions_list.csv` (Visium HD: `tissue_positions.parquet`), "
        f"found in `{name}` only {found}. Copy it from the run."
    )


def _image_names(resolution: str) -> list[str]:
    return [f"tissue_{resolution}_image.{suffix}" for suffix in ("png", "jpg", "jpeg")]


def _first(root: Path, folder: Path, names: Iterable[str]) -> Path | None:
    """Return the file by the first name that exists, alone or after a prefix."""
    for name in names:
        found = _existing(folder, name) or _existing(folder, f"*{name}")
        if len(found) > 1:
            paths = listed([path.relative_to(root).as_posix() for path in found])
            raise ReadError(
                root, f"Several files to choose from: {paths}. Keep those of one section in the folder."
            )
        if found:
            return found[0]
    return None


def _existing(folder: Path, pattern: str) -> list[Path]:
    """Return what is there by that name: no hidden files, and no links to what was not copied."""
    return sorted(path for path in folder.glob(pattern) if path.exists() and not path.name.startswith("."))


def read_space_ranger(
    root: Path, how: Reading = DEFAULT, *, backed: bool = False, on_progress: ProgressCallback = silent
) -> AnnData:
    """Read the run whose ``spatial`` folder lies in `root`.

    Parameters
    ----------
    root : Path
        Mostly called ``outs``.
    how : Reading
        Whether an image is given beside, whose lack is not told then.
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
    return read_layout(find_layout(root), how, backed=backed, on_progress=on_progress)


def read_layout(layout: Layout, how: Reading, *, backed: bool, on_progress: ProgressCallback) -> AnnData:
    """Read the files of a run; as `read_space_ranger`."""
    with kept_open() as files:
        return _read_run(layout, how, files if backed else None, on_progress)


def _read_run(
    layout: Layout, how: Reading, files: ExitStack | None, on_progress: ProgressCallback
) -> AnnData:
    root = layout.root
    gather = Gatherer(root)
    notes: list[str] = []
    matrix = positions = None
    on_progress(Progress(_STAGE, 0, 4))
    with gather:
        matrix = _read_genes(layout, notes, files, on_progress)
    on_progress(Progress(_STAGE, 1, 4))
    with gather:
        wanted = None if matrix is None else matrix.barcodes
        positions = read_positions(layout.positions, root, wanted, on_progress)
    on_progress(Progress(_STAGE, 2, 4))
    scale_factors: dict[str, float] | None = None
    with gather:
        scale_factors = _read_scale_factors(layout, notes)
    images = _read_images(layout, scale_factors, gather, notes)
    if not layout.images and how.image is None:
        notes.append(_no_image(layout))
    on_progress(Progress(_STAGE, 3, 4))
    if matrix is not None and positions is not None:
        with gather:
            _check_positions(matrix, positions, layout)
    gather.raise_all()
    assert matrix is not None
    assert positions is not None
    assert scale_factors is not None
    on_progress(Progress(_STAGE, 3, 4))
    adata = _assemble(matrix, positions, only_tissue=layout.is_raw)
    if files is not None and not is_on_disk(adata.X):
        notes.append(f"The counts were read into memory: {_why_in_memory(layout)}.")
    adata.uns[SPATIAL] = {_library_id(matrix, root): _library(matrix, images, scale_factors)}
    for resolution, image in images.items():
        scaled = adata.obsm[SPATIAL] * scale_factors[image_scale(resolution)]
        notes += spots_off_image(scaled, image, f"the {resolution} image")
    add_notes(adata, notes)
    on_progress(Progress(_STAGE, 4, 4))
    return adata


def _no_image(layout: Layout) -> str:
    words = (
        "No image of the tissue was found (`spatial/tissue_hires_image.png` or `..lowres..`). "
        "Give the one that Space Ranger was given as `image` (in napari: Other image)."
    )
    if _existing(layout.folder / "spatial", "*cytassist_image.tif*"):
        words += " The image of the CytAssist has pixels of its own, and was not used."
    return words


def _read_genes(
    layout: Layout, notes: list[str], files: ExitStack | None, on_progress: ProgressCallback
) -> Matrix:
    matrix = read_matrix(layout.matrix, layout.root, None if layout.is_raw else files, on_progress)
    genes = matrix.genes_only()
    others = len(matrix.features) - len(genes.features)
    if others and not len(genes.features):
        kinds = listed(sorted(matrix.features["feature_types"].unique()))
        name = layout.matrix.relative_to(layout.root).as_posix()
        raise ReadError(layout.root, f"`{name}` holds no gene expression, only {kinds}.")
    if others:
        features, were = count(others, "feature"), agreeing(others, "were")
        notes.append(f"{features} of other kinds than gene expression (such as antibodies) {were} left out.")
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
    if SPOT_DIAMETER not in content:
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
        factor = image_scale(resolution)
        if scale_factors is not None and factor not in scale_factors:
            notes.append(f"The {resolution} image was left out: without {factor} its place is not known.")
            continue
        with gather, reported(layout.root, path.relative_to(layout.root).as_posix()):
            images[resolution] = read_pixels(path)
    return images


def _check_positions(matrix: Matrix, positions: pd.DataFrame, layout: Layout) -> None:
    if positions.index is matrix.barcodes:  # to look up millions takes seconds
        return
    lost = matrix.barcodes[~matrix.barcodes.isin(positions.index)]
    if len(lost):
        raise ReadError(
            layout.root,
            f"{len(lost):,} of {len(matrix.barcodes):,} barcodes of `{layout.matrix.name}` "
            f"{agreeing(len(lost), 'are')} missing from `{layout.positions.name}`: "
            f"{listed(list(lost), most=3)}. "
            f"Take both from the same run{_and_size(layout)}.",
        )


def _and_size(layout: Layout) -> str:
    return " and the same size of bins" if layout.positions.suffix == ".parquet" else ""


def _assemble(matrix: Matrix, positions: pd.DataFrame, *, only_tissue: bool) -> AnnData:
    table = positions if positions.index is matrix.barcodes else positions.loc[matrix.barcodes]
    counts = matrix.counts
    if only_tissue:
        keep = (table[IN_TISSUE] == 1).to_numpy()
        table, counts = table[keep], counts[keep]
    obs = table[[IN_TISSUE, ARRAY_ROW, ARRAY_COL]].copy()
    var = matrix.features.astype({"feature_types": "category"})
    xy = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    return assembled({"X": counts, "obs": obs, "var": var, "obsm": {SPATIAL: xy}})


def _library_id(matrix: Matrix, root: Path) -> str:
    folder = root.resolve()
    names = (place.name for place in (folder, *folder.parents) if not PART_OF_A_RUN.fullmatch(place.name))
    return matrix.metadata.get("library_id") or next(names, "") or "library"


def _library(
    matrix: Matrix, images: dict[str, np.ndarray], scale_factors: dict[str, float]
) -> dict[str, Any]:
    names: Sequence[str] = ("chemistry_description", "software_version")
    metadata = {name: matrix.metadata[name] for name in names if name in matrix.metadata}
    return {IMAGES: images, SCALE_FACTORS: scale_factors, METADATA: metadata}
