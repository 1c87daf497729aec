"""Results in the formats of other programs: tables, QuPath, Loupe Browser, SpatialData.

Names are never changed, so that they match those of other files; each format escapes what it must. A new
format needs a function that writes it, and an entry in `TARGETS`.
"""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import SPATIAL
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.access import coordinates, placed_images
from napari_spotmix.dataset.geometry import bin_sides, placed_spots, spot_diameter
from napari_spotmix.dataset.regions import to_geojson
from napari_spotmix.io import listed, run_cancellable, write_atomically, write_folder_atomically
from napari_spotmix.io.keeping import MARK

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.result import Result

__all__ = ["TARGETS", "Target", "export", "export_notes", "target_of"]

_STAGE = "Exporting"
#: Rows between two reports of progress.
_BATCH = 2000
#: Features of GeoJSON between two reports of progress: each takes longer than a row.
_FEATURES = 500
#: Rows in each row group of a parquet file.
_GROUP = 50_000
#: Corners of the polygon for a round spot; its area is 97% of the circle's.
_CORNERS = 16
#: Characters that begin a formula in a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

#: Columns that connect the rows of a SpatialData table with shapes.
_REGION, _SPOT = "spotmix_region", "spotmix_spot"

Write = Callable[["Result", Path, ProgressCallback], None]


@dataclass(frozen=True)
class Target:
    """A kind of file that a result can be exported as.

    Attributes
    ----------
    name : str
        What `export` takes as `kind`.
    words : str
        Its label in menus.
    suffixes : tuple of str
        Of its files.
    write : callable
        Writes a result to a path.
    is_folder : bool
        Whether what is written is a folder.
    """

    name: str
    words: str
    suffixes: tuple[str, ...]
    write: Write
    is_folder: bool = False


def export(
    result: Result, path: str | Path, kind: str | None = None, *, on_progress: ProgressCallback = silent
) -> Path:
    """Write a result for another program.

    Parameters
    ----------
    result : Result
    path : path
        The file; it is replaced if it exists. A SpatialData store must not exist.
    kind : str, optional
        Name of one of `TARGETS`; by default the suffix of `path` decides: proportions for ``.csv`` and
        ``.parquet``, spots for ``.geojson``, a SpatialData store for ``.zarr``.
    on_progress : callable, optional
        Called several times a second; raises `Cancelled` to stop, and nothing is written.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    InputError
        If the kind is unknown or does not fit the suffix, there is nothing to export, spots share names
        that must be unique, or the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from napari_spotmix import deconvolve, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> with TemporaryDirectory() as folder:
    ...     export(result, Path(folder) / "categories.csv", "loupe").read_text().splitlines()[0]
    'Barcode,Dominant type'
    """
    path = Path(path)
    target = target_of(path, kind)
    on_progress(Progress(_STAGE, 0, 1))
    aside = write_folder_atomically if target.is_folder else write_atomically

    def write(unfinished: Path) -> None:
        run_cancellable(lambda: result.proportions, _STAGE, on_progress)  # found once, and kept
        target.write(result, unfinished, on_progress)
        on_progress(Progress(_STAGE, 1, 1))  # nothing is kept if it was cancelled meanwhile

    return aside(path, write)


def target_of(path: Path, kind: str | None = None) -> Target:
    """Return the target for a file of that name.

    Raises
    ------
    InputError
        If the kind is unknown, or not written to files with that suffix.

    Examples
    --------
    >>> target_of(Path("spots.geojson")).name, target_of(Path("regions.geojson"), "regions").name
    ('spots', 'regions')
    """
    suffix = path.suffix.lower()
    if kind is None:
        found = next((target for target in TARGETS if suffix in target.suffixes), None)
        if found is None:
            known = ", ".join(dict.fromkeys(suffix for target in TARGETS for suffix in target.suffixes))
            raise InputError(f"`to` must end with one of {known}; found {path.name!r}.")
        return found
    found = next((target for target in TARGETS if target.name == kind), None)
    if found is None:
        names = ", ".join(target.name for target in TARGETS)
        raise InputError(f"`kind` must be one of {names}; found {kind!r}.")
    if suffix not in found.suffixes:
        suffixes = " or ".join(found.suffixes)
        raise InputError(f"`to` must end with {suffixes} for kind {found.name!r}; found {path.name!r}.")
    return found


def export_notes(result: Result, path: str | Path, kind: str | None = None) -> list[str]:
    """Return what to know about an exported file.

    Returns
    -------
    list of str
        A sentence or two each: spots that were skipped, names that a spreadsheet may read as formulas.
    """
    target = target_of(Path(path), kind)
    notes = []
    lost = len(result.abundances) - len(placed_spots(result.spatial))
    if target.name in ("spots", "spatialdata") and lost:
        notes.append(f"Spots without coordinates were skipped: {lost:,}.")
    if target.name == "loupe" and (unknown := int(result.dominant.isna().sum())):
        notes.append(f"Spots that were not estimated have no category and were skipped: {unknown:,}.")
    names = [*result.cell_types, *result.abundances.index.astype(str)]
    formulas = [name for name in names if name.startswith(_FORMULA)]
    if ".csv" in target.suffixes and formulas:
        notes.append(
            f"{count(len(formulas), 'name')} {agreeing(len(formulas), 'begin')} like a formula "
            f"({formulas[0]!r}). Names are not changed: import the file as text into a spreadsheet."
        )
    return notes


# -------------------------------------------------------------------------------------------------- tables


def _write_table(
    rows: Callable[[Result, slice], pd.DataFrame], result: Result, path: Path, on_progress: ProgressCallback
) -> None:
    """Write the rows in batches; it can be cancelled between them."""
    n_spots = len(result.abundances)
    if path.suffix.lower() == ".parquet":
        _write_parquet(rows, result, path, on_progress)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        rows(result, slice(0)).to_csv(file, index=False, lineterminator="\n")
        for at in range(0, n_spots, _BATCH):
            on_progress(Progress(_STAGE, at, n_spots))
            block = rows(result, slice(at, at + _BATCH))
            block.to_csv(file, index=False, header=False, lineterminator="\n")


def _write_parquet(
    rows: Callable[[Result, slice], pd.DataFrame], result: Result, path: Path, on_progress: ProgressCallback
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_spots = len(result.abundances)
    schema = pa.Table.from_pandas(rows(result, slice(_BATCH)), preserve_index=False).schema
    schema = schema.with_metadata({**(schema.metadata or {}), b"generator": MARK.encode()})
    with pq.ParquetWriter(path, schema) as writer:
        for at in range(0, max(n_spots, 1), _GROUP):
            on_progress(Progress(_STAGE, at, n_spots))
            block = rows(result, slice(at, at + _GROUP))
            writer.write_table(pa.Table.from_pandas(block, schema, preserve_index=False))


def _wide(result: Result, spots: slice) -> pd.DataFrame:
    """Return a row for each spot and a column for each type, as in ``proportions.csv``."""
    shares = result.proportions[spots]
    table = shares.reset_index(drop=True)
    table.insert(0, "spot", shares.index.astype(str), allow_duplicates=True)
    return table


def _long(result: Result, spots: slice) -> pd.DataFrame:
    """Return a row for each spot and type, as plotting libraries expect."""
    shares, n_types = result.proportions[spots], len(result.cell_types)
    x, y = np.repeat(result.coordinates[spots], n_types, axis=0).T
    unknown = shares * np.nan
    errors = result.standard_errors[spots] if len(result.standard_errors) else unknown
    lower, upper = result.intervals(spots) if len(result.standard_errors) else (unknown, unknown)
    return pd.DataFrame(
        {
            "spot": np.repeat(np.asarray(shares.index, dtype=object), n_types),
            "x_px": x,
            "y_px": y,
            "cell_type": np.tile(np.asarray(result.cell_types, dtype=object), len(shares)),
            "proportion": shares.to_numpy().ravel(),
            "standard_error": errors.to_numpy(dtype=float).ravel(),
            "lower": lower.to_numpy().ravel(),
            "upper": upper.to_numpy().ravel(),
        }
    )


def _write_loupe(result: Result, path: Path, on_progress: ProgressCallback) -> None:
    """Write a category for each barcode; barcodes that are not estimated are left out."""
    dominant = result.dominant.dropna()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Barcode", "Dominant type"])
        for at in range(0, len(dominant), _GROUP):
            on_progress(Progress(_STAGE, at, len(dominant)))
            writer.writerows(dominant.iloc[at : at + _GROUP].items())


# ------------------------------------------------------------------------------------------------- GeoJSON


def _write_spots(result: Result, path: Path, on_progress: ProgressCallback) -> None:
    """Write one feature a line: a million of them need no memory."""
    spots = placed_spots(result.spatial)
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"type": "FeatureCollection", "generator": "{MARK}", "features": [')
        measured = run_cancellable(lambda: _measurements(result), _STAGE, on_progress)
        for at, feature in enumerate(_spot_features(result, spots, measured)):
            if at % _FEATURES == 0:
                on_progress(Progress(_STAGE, at, len(spots)))
            file.write((",\n" if at else "\n") + json.dumps(feature, allow_nan=False))
        file.write("\n]}\n")


def _spot_features(
    result: Result, spots: NDArray[np.intp], measured: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield spots as QuPath's detections, which have class, color and measurements in `properties`."""
    outline, xy = _outline(result.spatial), result.coordinates
    colors = {name: _rgb(color) for name, color in result.colors.items()}
    names = result.abundances.index.astype(str)
    dominant = result.dominant.astype(object).to_numpy()
    keys, values = list(measured.columns), measured.to_numpy(dtype=float)
    for spot in spots:
        ring = np.round(xy[spot] + outline, 2).tolist()
        properties: dict[str, Any] = {"objectType": "detection", "name": names[spot]}
        if isinstance(dominant[spot], str):
            properties["classification"] = {"name": dominant[spot], "color": colors[dominant[spot]]}
        known = zip(keys, values[spot].tolist(), strict=True)
        properties["measurements"] = {key: value for key, value in known if np.isfinite(value)}
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": properties,
        }


def _measurements(result: Result) -> pd.DataFrame:
    shares = result.proportions.add_prefix("Proportion: ")
    errors = result.standard_errors.add_prefix("Standard error: ")
    own = pd.DataFrame({"Counts": result.counts, "Unexplained": result.unexplained})
    return pd.concat([own, shares, *([errors] if len(errors) else [])], axis=1)


def _outline(spatial: AnnData) -> NDArray[np.float64]:
    """Return the closed outline of a spot around (0, 0), in full-resolution pixels."""
    sides = bin_sides(spatial)
    if sides is not None:
        across, down = sides / 2
        corners = np.array([-across - down, across - down, across + down, down - across])
    else:
        angles = 2 * np.pi * np.arange(_CORNERS) / _CORNERS
        corners = spot_diameter(spatial) / 2 * np.column_stack([np.cos(angles), np.sin(angles)])
    return np.vstack([corners, corners[:1]])


def _rgb(color: str) -> list[int]:
    return [int(color[at : at + 2], 16) for at in (1, 3, 5)]


def _write_regions(result: Result, path: Path, _: ProgressCallback) -> None:
    if not result.regions:
        raise InputError("This result has no regions. Draw some in napari, and save the result again.")
    given = json.loads(to_geojson(result.regions))
    marked = {"type": given["type"], "generator": MARK, "features": given["features"]}
    path.write_text(json.dumps(marked), encoding="utf-8")


# --------------------------------------------------------------------------------------------- SpatialData


def _write_spatialdata(result: Result, path: Path, on_progress: ProgressCallback) -> None:
    """Write images, spots as shapes, and a table with everything that ``spatial.h5ad`` holds."""
    steps: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("images", lambda: _images(result.spatial)),
        ("shapes", lambda: {"spots": _shapes(result.spatial)}),
        ("tables", lambda: {"table": _table(result), "cell_types": _table(result, of="cell_types")}),
    ]
    parts: dict[str, dict[str, Any]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the internals of spatialdata and its dependencies
        spatialdata = _spatialdata()
        for at, (name, make) in enumerate(steps):
            parts[name] = run_cancellable(make, _STAGE, on_progress, at, len(steps) + 1)
        whole, n_steps = spatialdata.SpatialData(**parts), len(steps)
        # Its folder was made for it.
        aside = path.parent
        run_cancellable(
            lambda: whole.write(path), _STAGE, on_progress, n_steps, n_steps + 1, writes_into=aside
        )


def _spatialdata() -> Any:
    try:
        import spatialdata
    except ImportError as error:
        raise InputError(
            "A SpatialData store needs the package spatialdata, which is not installed. "
            'Install it with `pip install "napari-spotmix[spatialdata]"`.'
        ) from error
    return spatialdata


def _images(spatial: AnnData) -> dict[str, Any]:
    """Return the images, each with its scale to full-resolution pixels, the unit of all the rest."""
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    found = {}
    for resolution, pixels, factor in placed_images(spatial):
        channels = np.moveaxis(np.atleast_3d(pixels), -1, 0)
        scale = Scale([1 / factor, 1 / factor], axes=("x", "y"))
        found[f"{resolution}_image"] = Image2DModel.parse(
            channels, dims=("c", "y", "x"), transformations={"global": scale}
        )
    return found


def _shapes(spatial: AnnData) -> Any:
    """Return spots as circles, or bins as squares, indexed by their names."""
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    spots = placed_spots(spatial)
    xy = coordinates(spatial)[spots]
    names, place = spatial.obs_names[spots], {"global": Identity()}
    if bin_sides(spatial) is None:
        radius = spot_diameter(spatial) / 2
        return ShapesModel.parse(xy, geometry=0, radius=radius, index=names, transformations=place)
    corners = (xy[:, None, :] + _outline(spatial)).reshape(-1, 2)
    n_corners = len(corners) // len(xy)
    rings = np.arange(len(xy) + 1)  # one ring for each square
    return ShapesModel.parse(
        corners, geometry=3, offsets=(n_corners * rings, rings), index=names, transformations=place
    )


def _table(result: Result, of: Literal["genes", "cell_types"] = "genes") -> Any:
    """Return what ``spatial.h5ad`` holds without the images, or the proportions, as a table on the shapes."""
    from spatialdata import sanitize_table
    from spatialdata.models import TableModel

    adata = result.to_anndata(of=of).to_memory()
    adata.uns.pop(SPATIAL, None)
    adata = adata[placed_spots(adata)].copy()
    if adata.obs_names.has_duplicates:
        twice = list(adata.obs_names[adata.obs_names.duplicated()].unique())
        raise InputError(
            "A SpatialData store needs unique names of spots, but some spots share a name: "
            f"{listed(twice, most=3)}. Run again with `--fix spatial:name-apart`, or write a table."
        )
    adata.obs[_REGION] = pd.Categorical(["spots"] * adata.n_obs)
    adata.obs[_SPOT] = adata.obs_names
    adata = sanitize_table(adata, inplace=False)
    return TableModel.parse(adata, region="spots", region_key=_REGION, instance_key=_SPOT)


#: What can be exported, the default kind of each suffix first.
TARGETS: tuple[Target, ...] = (
    Target(
        "proportions",
        "Table of proportions, spots x cell types",
        (".csv", ".parquet"),
        partial(_write_table, _wide),
    ),
    Target("long", "Table, a row for each spot and type", (".csv", ".parquet"), partial(_write_table, _long)),
    Target("loupe", "Categories for Loupe Browser", (".csv",), _write_loupe),
    Target("spots", "Spots for QuPath", (".geojson",), _write_spots),
    Target("regions", "Regions for QuPath", (".geojson",), _write_regions),
    Target("spatialdata", "SpatialData store", (".zarr",), _write_spatialdata, is_folder=True),
)
