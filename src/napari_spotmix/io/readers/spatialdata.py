"""Read SpatialData stores: a table of counts, the shapes or labels that it annotates, and images.

The AnnData has the layout of ``scanpy.read_visium``. Coordinates become pixels through the transformations of
the store, into a coordinate system in which images are only scaled, or else into the pixels of one image.

References
----------
Marconato et al. 2025 (Nat Methods 22:58); SpatialData, "Design document" (formats 0.1 to 0.2, Zarr 2 and 3).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from anndata.io import read_elem
from numpy.typing import NDArray

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import (
    BIN_SIZE,
    HIRES,
    IMAGES,
    LOWRES,
    METADATA,
    SCALE_FACTORS,
    SPATIAL,
    SPOT_DIAMETER,
    image_scale,
)
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, quoted
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import as_read_error, listed
from napari_spotmix.io.readers.anndata_coordinates import set_coordinates
from napari_spotmix.io.readers.anndata_zarr import IN_MEMORY, attributes
from napari_spotmix.io.readers.off_tissue import only_under_tissue
from napari_spotmix.io.readers.options import DEFAULT, BinSize, ReadOptions
from napari_spotmix.io.readers.store_inspection import check_store
from napari_spotmix.io.sparse_gate import check_matrices
from napari_spotmix.params import BIN_UM

__all__ = [
    "bins_in_store",
    "find_spatialdata",
    "read_spatialdata",
    "spatialdata_files",
    "tables_in_store",
]

_STAGE = "Reading spots"
_ATTRIBUTES = "spatialdata_attrs"
_BINS = re.compile(r"square_(\d+)um")
#: Maximum length of the longest side of an image, in pixels.
_MAX_SIDE = 4000
#: Maximum deviation of a transformation from pure scaling.
_TOLERANCE = 0.01

Affine = NDArray[np.float64]


def find_spatialdata(path: Path) -> Path | None:
    """Return `path` if it is the root of a SpatialData store."""
    if not path.is_dir():
        return None
    is_old = (path / ".zgroup").is_file() and any((path / name).is_dir() for name in ("shapes", "images"))
    return path if _ATTRIBUTES in attributes(path) or is_old else None


@dataclass(frozen=True)
class _Part:
    """The part of a store that is read: one table, and its rows that annotate one region."""

    folder: str
    table: str
    region: str | None
    region_key: str
    instance_key: str

    @property
    def name(self) -> str:
        return self.table if self.region in (None, self.table) else f"{self.table}: {self.region}"


def spatialdata_files(path: Path, options: ReadOptions = DEFAULT) -> list[Path]:
    """Return the files of the table, its region and all images, in a fixed order.

    Raises
    ------
    ReadError
        If the table is unknown.
    """
    part = _chosen(_parts(path), options, path)[0]
    folders = [path / part.folder / part.table, path / "images"]
    folders += [path / kind / (part.region or "") for kind in ("shapes", "labels") if part.region]
    inside = (file for folder in folders if folder.is_dir() for file in folder.rglob("*"))
    return sorted(file for file in (*path.iterdir(), *inside) if file.is_file())


def _parts(path: Path) -> list[_Part]:
    """Return all tables and their regions, the default first."""
    with as_read_error(path, path.name):
        check_store(path, ("tables", "table"))
        store: Any = zarr.open_group(path, mode="r")
        # Format 0.1 had one table, in `table/table`.
        found = [
            (folder, name) for folder in ("tables", "table") if folder in store for name in store[folder]
        ]
        parts = [part for folder, name in found for part in _regions(store[folder][name], folder, name)]
    if not parts:
        raise ReadError(
            path,
            "is a SpatialData store without a table, expected one with counts. "
            "Write the store again with its table.",
        )
    return sorted(parts, key=lambda part: (part.region is None, _bin_distance(part), part.table))


def bins_in_store(path: Path) -> list[BinSize]:
    """Return the sizes of the square bins in a store, the smallest first.

    Raises
    ------
    ReadError
        If the store is damaged, or has no table.
    """
    sides = {side for part in _parts(path) if (side := _bin_side(part)) is not None}
    return [BinSize(side, None) for side in sorted(sides)]


def tables_in_store(path: Path, options: ReadOptions = DEFAULT) -> list[str]:
    """Return the names of the tables, and of their regions, with bins of the chosen size.

    Raises
    ------
    ReadError
        If the store is damaged, has no table, or lacks the chosen one.
    """
    parts = _parts(path)
    side = _bin_side(_chosen(parts, options, path)[0])
    return [part.name for part in parts if _bin_side(part) == side]


def _regions(table: Any, folder: str, name: str) -> Iterator[_Part]:
    uns = table.get("uns", {})
    keys = read_elem(uns[_ATTRIBUTES]) if _ATTRIBUTES in uns else {}
    regions: list[str | None] = [str(region) for region in np.atleast_1d(keys.get("region", []))]
    for region in regions or [None]:
        yield _Part(folder, name, region, str(keys.get("region_key")), str(keys.get("instance_key")))


def _bin_distance(part: _Part) -> float:
    side = _bin_side(part)
    return 0.0 if side is None else abs(np.log(side / BIN_UM))


def _bin_side(part: _Part) -> float | None:
    found = _BINS.search(part.region or "") or _BINS.search(part.table)
    return float(found[1]) if found else None


def _chosen(parts: list[_Part], options: ReadOptions, path: Path) -> tuple[_Part, list[str]]:
    """Return the chosen table and region, or the default and a note with the others."""
    if options.bin_um is not None:
        parts = [part for part in parts if _bin_side(part) == options.bin_um]
    if not parts:
        found = listed([f"{size.um:g}" for size in bins_in_store(path)])
        raise ReadError(
            path,
            f"`bin_um`: bins of {options.bin_um:g} µm were not found; the store has {found}. "
            "Choose one of these.",
        )
    if options.table is None:
        names = [part.name for part in parts[1:]]
        note = f"The table `{parts[0].name}` was read; choose others with `table`: {listed(names)}."
        return parts[0], [note] if names else []
    for part in parts:
        if options.table in (part.name, part.table, part.region):
            return part, []
    raise ReadError(
        path,
        f"`table`: {options.table!r} was not found; the store has {listed([p.name for p in parts])}. "
        "Choose one of these.",
    )


def read_spatialdata(
    path: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read one region of a SpatialData store; as :func:`napari_spotmix.io.read_spatial`.

    Raises
    ------
    ReadError
        If the package ``spatialdata`` is missing, the store is damaged, or spots have no shape.
    """
    part, notes = _chosen(_parts(path), options, path)
    with as_read_error(path, path.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about experimental formats
        adata = run_cancellable(lambda: _read(path, part, notes), _STAGE, on_progress)
    on_progress(Progress(_STAGE, 1, 1))
    add_notes(adata, [*notes, *([IN_MEMORY] if backed else [])])
    return adata


def _read(path: Path, part: _Part, notes: list[str]) -> AnnData:
    check_store(path, ("shapes",))
    check_store(path, ("images", "labels"), may_be_empty=True)
    store = _opened(path)
    table = store.tables[part.table]
    check_matrices(table, path)
    adata = _rows(table, part)
    if part.region is None:
        set_coordinates(adata, path)
    else:
        _set_coordinates_and_images(adata, store, part, path, notes)
    return only_under_tissue(adata)


def _opened(path: Path) -> Any:
    try:
        import spatialdata
    except ImportError:
        raise ReadError(
            path,
            "is a SpatialData store, which needs the package spatialdata. "
            "Install it with `pip install 'napari-spotmix[spatialdata]'`.",
        ) from None
    return spatialdata.read_zarr(path, selection=("tables", "shapes", "labels", "images"))


def _rows(table: AnnData, part: _Part) -> AnnData:
    if part.region is None:
        return table.copy()
    return table[(table.obs[part.region_key].astype(str) == part.region).to_numpy()].copy()


def _element(store: Any, region: str, path: Path) -> Any:
    if region in store.shapes:
        return store.shapes[region]
    if region in store.labels:
        return store.labels[region]
    found = listed([*store.shapes, *store.labels])
    raise ReadError(
        path,
        f"The table annotates {quoted(region)}, which must be in the store; found {found}. "
        "Write the store again with its shapes or labels.",
    )


def _set_coordinates_and_images(
    adata: AnnData, store: Any, part: _Part, path: Path, notes: list[str]
) -> None:
    """Set coordinates and images, both in pixels, in place."""
    element = _element(store, str(part.region), path)
    system = _coordinate_system(element, store.images.values())
    layers = _image_layers(store.images, system, part)
    frame, layers = _common_frame(layers)
    to_pixels: Affine = np.linalg.inv(frame).astype(np.float64)
    adata.obsm[SPATIAL] = _transformed(_centers(adata, element, system, part, path), to_pixels)
    notes.append(
        f"Coordinates are the centers of {part.region!r} in the coordinate system {system!r}"
        f"{'' if np.allclose(frame, np.eye(3)) else ', in pixels of its image'}."
    )
    factors = _sizes(element, to_pixels @ _affine(element, system), part)
    images = {}
    for layer in layers:
        pixels, scale = _pixels(layer)
        images[layer.key] = pixels
        factors[image_scale(layer.key)] = float(1.0 / scale)
    if not images:
        notes.append("No image of the tissue was found that can be aligned with the spots.")
    adata.uns[SPATIAL] = {part.region: {IMAGES: images, SCALE_FACTORS: factors, METADATA: {}}}


def _systems(element: Any) -> Mapping[str, Any]:
    from spatialdata.transformations import get_transformation

    found: Mapping[str, Any] = get_transformation(element, get_all=True)
    return found


def _affine(element: Any, system: str) -> Affine:
    """Return the matrix from an element's own coordinates (x, y, 1) to those of a system."""
    matrix = _systems(element)[system].to_affine_matrix(("x", "y"), ("x", "y"))
    return np.asarray(matrix, dtype=np.float64)


def _coordinate_system(element: Any, images: Any) -> str:
    """Return a coordinate system: preferably with images, and in which the shapes are not transformed."""
    from spatialdata.transformations import Identity

    with_images = {system for image in images for system in _systems(image)}
    systems = _systems(element)

    def rank(system: str) -> tuple[bool, bool, bool, str]:
        is_own = isinstance(systems[system], Identity)
        return system not in with_images, not is_own, system != "global", system

    return min(systems, key=rank)


def _centers(adata: AnnData, element: Any, system: str, part: _Part, path: Path) -> NDArray[np.float64]:
    from spatialdata import get_centroids

    centers: pd.DataFrame = get_centroids(element, coordinate_system=system).compute()
    rows = centers.index.get_indexer(pd.Index(adata.obs[part.instance_key]))
    n_lost = int((rows < 0).sum())
    if n_lost:
        raise ReadError(
            path,
            f"{n_lost:,} of {adata.n_obs:,} spots of the table {part.table!r} "
            f"{agreeing(n_lost, 'have')} no shape in {part.region!r}. Write both from the same section.",
        )
    return centers[["x", "y"]].to_numpy(dtype=np.float64)[rows]


def _transformed(xy: NDArray[np.float64], matrix: Affine) -> NDArray[np.float64]:
    return xy @ matrix[:2, :2].T + matrix[:2, 2]


def _sizes(element: Any, to_pixels: Affine, part: _Part) -> dict[str, float]:
    """Return the scale factors from the shapes: the diameter of spots, the side of bins."""
    factors = {}
    if isinstance(element, pd.DataFrame):
        is_circles = "radius" in element
        side = 2 * element["radius"].median() if is_circles else float(np.median(element.area)) ** 0.5
        factors[SPOT_DIAMETER] = float(side) * float(abs(np.linalg.det(to_pixels[:2, :2])) ** 0.5)
    side_um = _bin_side(part)
    return factors if side_um is None else factors | {BIN_SIZE: side_um}


@dataclass(frozen=True)
class _Layer:
    """An image, its name in the result, and the matrix from its pixels to the coordinate system."""

    image: Any
    key: str
    matrix: Affine

    @property
    def size(self) -> float:
        return float(abs(np.linalg.det(self.matrix[:2, :2])) ** 0.5)


def _image_layers(images: Mapping[str, Any], system: str, part: _Part) -> list[_Layer]:
    """Return at most one image per name: the one whose name is most like the region's, then the finest."""
    found = []
    for name, image in images.items():
        if system in _systems(image):
            key = LOWRES if LOWRES in name.lower() else HIRES
            n_common = _common_prefix_length(name, part.region or "")
            found.append((-n_common, _Layer(image, key, _affine(image, system))))
    found.sort(key=lambda one: (one[0], one[1].size))
    return list({layer.key: layer for _, layer in reversed(found)}.values())


def _common_prefix_length(a: str, b: str) -> int:
    """Return the length of the common prefix of two names."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _common_frame(layers: list[_Layer]) -> tuple[Affine, list[_Layer]]:
    """Return the matrix from pixels to the coordinate system, and the images that differ only in scale."""
    plain = [layer for layer in layers if _is_scale(layer.matrix)]
    if plain or not layers:
        return np.eye(3), plain
    frame = min(layers, key=lambda layer: layer.size).matrix
    back = np.linalg.inv(frame)
    inside = [_Layer(layer.image, layer.key, back @ layer.matrix) for layer in layers]
    return frame, [layer for layer in inside if _is_scale(layer.matrix)]


def _is_scale(matrix: Affine) -> bool:
    """Return whether a transformation only scales, within a pixel."""
    size = (matrix[0, 0] + matrix[1, 1]) / 2
    if size <= 0:
        return False
    off = np.abs(matrix[:2, :2] / size - np.eye(2)).max()
    return bool(off <= _TOLERANCE and np.abs(matrix[:2, 2] / size).max() <= 1)


def _pixels(layer: _Layer) -> tuple[NDArray[Any], float]:
    """Return the finest level that is not too large, (height, width[, 3 or 4]), and its pixel size."""
    from spatialdata import get_pyramid_levels

    levels = list(get_pyramid_levels(layer.image)) if hasattr(layer.image, "children") else [layer.image]
    small = [level for level in levels if max(level.shape[1:]) <= _MAX_SIDE]
    level = small[0] if small else levels[-1]
    step = -(-max(level.shape[1:]) // _MAX_SIDE)
    shrunk = layer.size * levels[0].shape[1] / level.shape[1] * step
    return _as_picture(np.asarray(level[:, ::step, ::step].data)), shrunk


def _as_picture(channels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 3 or 4 channels (c, y, x) as an 8-bit color image, and of others the first one in gray."""
    if channels.dtype != np.uint8:
        largest = (
            1.0 if channels.dtype.kind == "f" and channels.max() <= 1 else max(float(channels.max()), 1.0)
        )
        channels = (channels.astype(np.float32).clip(0) * (255.0 / largest)).astype(np.uint8)
    return np.moveaxis(channels, 0, -1) if len(channels) in (3, 4) else channels[0]
