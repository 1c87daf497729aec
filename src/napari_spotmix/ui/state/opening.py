"""Opening data: the tasks that read or simulate them in a thread, and what these return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix import io
from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.dataset.regions import Region
from napari_spotmix.io.readers.options import DEFAULT
from napari_spotmix.ui.state.loaded import LoadedReference, LoadedTissue
from napari_spotmix.ui.state.prepare import prepare
from napari_spotmix.ui.text import count, display_name, printable

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.base.progress import ProgressCallback
    from napari_spotmix.result import Result

__all__ = [
    "REGION_SUFFIXES",
    "Opened",
    "OpenedTissue",
    "choices_task",
    "image_task",
    "one_section",
    "opened_task",
    "outlines_in",
    "reference_task",
    "result_in",
    "simulate_task",
    "simulated_reference",
    "tissue_task",
]


#: Files of regions.
REGION_SUFFIXES = (".geojson",)
#: Regions of a file that can be drawn: napari fills each with triangles, in the thread of the window.
_MOST_REGIONS, _MOST_CORNERS, _MOST_BYTES = 200, 20_000, 20_000_000


@dataclass(frozen=True)
class OpenedTissue:
    """A tissue, the result that its file holds, and the reference that came with it, if any."""

    tissue: LoadedTissue
    result: Result | None = None
    reference: LoadedReference | None = None


def result_in(adata: AnnData) -> Result | None:
    """Return the result that data hold, ready to be shown, or None."""
    from napari_spotmix.result import Result

    try:
        result = Result.from_anndata(adata)
    except InputError:
        return None
    prepare(result)
    return result


#: What a file that is opened holds.
Opened = OpenedTissue | LoadedReference | tuple[Region, ...]


def one_section(tissue: LoadedTissue) -> LoadedTissue:
    """Return the section that is chosen, or the first one, of data that hold several.

    Sections have the same coordinates: together they would cover each other, on the image of one of them.
    """
    names = io.section_names(tissue.adata)
    if not names:
        return tissue
    chosen = tissue.reading.section or names[0]
    return replace(
        tissue,
        adata=io.only_section(tissue.adata, chosen, tissue.path or Path(tissue.name)),
        name=f"{tissue.name}, {chosen}",
        reading=replace(tissue.reading, section=chosen),
        choices=replace(tissue.choices, sections=names),
    )


def choices_task(path: Path, reading: io.ReadOptions) -> Callable[[ProgressCallback], io.Choices]:
    """Return the task that finds out which options a path offers."""
    return lambda _: io.choices(_data_at(path), reading)


def tissue_task(
    path: Path, reading: io.ReadOptions, choices: io.Choices
) -> Callable[[ProgressCallback], OpenedTissue]:
    """Return the task that reads spots."""

    def task(on_progress: ProgressCallback) -> OpenedTissue:
        data = _data_at(path)
        is_large, whole = io.is_large(data, reading), replace(reading, section=None)
        adata = io.read_spatial(data, **vars(whole), backed=is_large, on_progress=on_progress)
        tissue = one_section(LoadedTissue(adata, display_name(path), data, reading, choices))
        bin_grid(tissue.adata)  # takes a while for a million bins, and is kept
        return OpenedTissue(tissue, result_in(tissue.adata))

    return task


def opened_task(path: Path) -> Callable[[ProgressCallback], Opened]:
    """Return the task that reads what a path holds, with the usual options.

    Spots, a result, a reference, or regions. A reference is an ``.h5ad`` file with labels, and without
    coordinates of spots.
    """

    def task(on_progress: ProgressCallback) -> Opened:
        if path.suffix.lower() in REGION_SUFFIXES:
            return outlines_in(path)
        data = _data_at(path)
        try:
            return tissue_task(path, DEFAULT, io.choices(data))(on_progress)
        except ReadError as error:
            if not isinstance(error.__cause__, io.MissingCoordinates):
                raise
            reference = reference_task((data,), None)(on_progress)
            if not reference.columns:
                raise
            return reference

    return task


def outlines_in(path: Path) -> tuple[Region, ...]:
    """Return the regions in a file, few enough to be drawn and edited.

    Raises
    ------
    ReadError
        If they are not polygons in GeoJSON, or too many.
    """
    from napari_spotmix.analysis.regions import read_regions

    if path.is_file() and (size := path.stat().st_size) > _MOST_BYTES:
        words = f"holds {size / 1e6:.0f} MB, too much for regions. Export fewer or simpler outlines."
        raise ReadError(path, words)
    regions = read_regions(path)
    n_corners = sum(len(region.outline) for region in regions)
    if len(regions) > _MOST_REGIONS or n_corners > _MOST_CORNERS:
        raise ReadError(
            path,
            f"holds {count(len(regions), 'outline')} with {n_corners:,} corners; at most {_MOST_REGIONS} "
            f"with {_MOST_CORNERS:,} can be drawn. Export annotations, not cells.",
        )
    return regions


def _data_at(path: Path) -> Path:
    """Return the file of a result for the folder that was written with it, any other path as it is."""
    file = path / "spatial.h5ad"
    if not file.is_file() or not (path / "recipe.toml").is_file():
        return path
    io.check_complete(path)
    return file


def reference_task(
    paths: tuple[Path, ...], labels: Path | None
) -> Callable[[ProgressCallback], LoadedReference]:
    """Return the task that reads references and joins them."""

    def task(on_progress: ProgressCallback) -> LoadedReference:
        backed = io.is_large(paths[0])
        adata = io.read_reference(paths, labels=labels, backed=backed, on_progress=on_progress)
        name, columns = printable(" + ".join(path.stem for path in paths)), tuple(io.label_columns(adata))
        return LoadedReference(adata, name, columns, paths[0], paths[1:], labels)

    return task


def image_task(path: Path) -> Callable[[ProgressCallback], io.TissueImage]:
    """Return the task that reads another image."""
    return lambda _: io.read_image(path)


def simulate_task(on_progress: ProgressCallback) -> OpenedTissue:
    """Simulate a tissue with its reference."""
    from napari_spotmix.simulation.simulate import simulate  # in the thread: numba takes its time

    made = simulate(on_progress=on_progress)
    tissue = LoadedTissue(made.spatial, "Simulated tissue")
    return OpenedTissue(tissue, result_in(made.spatial), simulated_reference(made.reference))


def simulated_reference(adata: AnnData) -> LoadedReference:
    """Return a simulated reference with its columns of labels."""
    return LoadedReference(adata, "simulated reference", tuple(io.label_columns(adata)))
