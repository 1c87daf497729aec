"""Whether spots have names and coordinates of their own, and are on the tissue of their image."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.keys import image_scale
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.access import coordinates, images, scale_factor
from napari_spotmix.dataset.finding import NOTE, WARNING, Finding
from napari_spotmix.dataset.fixes import FIXES, Fix
from napari_spotmix.dataset.registration import better_moves, registered_images
from napari_spotmix.dataset.validation import coordinate_problems
from napari_spotmix.io import listed, spots_outside_image

__all__ = ["NO_COORDINATES", "NO_COUNTS", "not_estimated", "spot_findings"]


#: Why spots are not estimated.
NO_COORDINATES, NO_COUNTS = "no coordinates", "no counts of the shared genes"
#: From this share of spots on, shared coordinates are no accident.
_MANY_TOGETHER = 0.1


def spot_findings(spatial: AnnData, library_key: str | None = None) -> list[Finding]:
    """Return warnings about barcodes, coordinates, and spots that are not on the tissue of their image."""
    found = _repeated(spatial) + _without_section(spatial, library_key)
    if coordinate_problems(spatial):
        return found
    xy = coordinates(spatial)
    n_lost = int((~np.isfinite(xy).all(axis=1)).sum())
    found += [not_estimated(n_lost, len(xy), NO_COORDINATES)] if n_lost else []
    found += _together(spatial, xy, library_key)
    return found + _turned(spatial) + _off_image(spatial) + _without_scale(spatial)


def not_estimated(number: int, n_spots: int, reason: str) -> Finding:
    """Return the finding that some spots are kept, but not estimated.

    Examples
    --------
    >>> print(not_estimated(1, 80, NO_COUNTS).message)
    1 of 80 spots is not estimated (no counts of the shared genes) and is kept, with NaN.
    """
    are = agreeing(number, "are")
    text = f"{number:,} of {n_spots:,} spots {are} not estimated ({reason}) and {are} kept, with NaN."
    if reason == NO_COORDINATES:
        return Finding(WARNING, f"{text} If their coordinates are known, read the positions again.")
    return Finding(NOTE, text)


def _repeated(spatial: AnnData) -> list[Finding]:
    names = spatial.obs_names
    if not names.has_duplicates:
        return []
    twice = names[names.duplicated()].unique()
    text = (
        f"{count(len(twice), 'barcode')} of spots {agreeing(len(twice), 'are')} found more than once "
        f"({listed(list(twice), most=3)}), so rows of the result's tables are ambiguous. Number the repeats. "
        "If these are several sections, also name the column that distinguishes them as `library_key`."
    )
    return [Finding(WARNING, text, (Fix("spatial", "name-apart"),))]


def _without_section(spatial: AnnData, library_key: str | None) -> list[Finding]:
    if library_key not in spatial.obs:  # not asked for, or a problem
        return []
    n_lost = int(spatial.obs[library_key].isna().sum())
    if n_lost in (0, spatial.n_obs):  # an empty column is a problem
        return []
    text = (
        f"{n_lost:,} of {spatial.n_obs:,} spots {agreeing(n_lost, 'have')} no value in {library_key!r} and "
        f"{agreeing(n_lost, 'are')} treated as a section of their own. Fill the column."
    )
    return [Finding(WARNING, text)]


def _together(spatial: AnnData, xy: NDArray[np.float64], library_key: str | None) -> list[Finding]:
    """Return a warning if many spots share coordinates: they would be each other's nearest neighbors."""
    section = pd.factorize(spatial.obs[library_key])[0] if library_key in spatial.obs else 0
    positions = pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "section": section}).dropna()
    n_together = int(positions.duplicated(keep=False).sum())
    if n_together == 0 or n_together < _MANY_TOGETHER * len(positions):
        return []
    text = f"{n_together:,} of {len(positions):,} spots share their coordinates with another spot. "
    if library_key is None:
        text += (
            "If these are several sections, name the column that distinguishes them as `library_key`. "
            "Otherwise "
        )
    return [Finding(WARNING, f"{text}{'check' if library_key is None else 'Check'} the coordinates.")]


def _turned(spatial: AnnData) -> list[Finding]:
    moves = better_moves(spatial)
    if not moves:
        return []
    fixes = tuple(Fix("spatial", move) for move in moves)
    words = ", then ".join(FIXES[move].words.lower() for move in moves)
    text = f"The spots are not on the stained tissue of the image, but would be after this fix: {words}."
    return [Finding(WARNING, text, fixes)]


def _off_image(spatial: AnnData) -> list[Finding]:
    xy = coordinates(spatial)
    notes = [
        note
        for name, image, factor in registered_images(spatial)
        for note in spots_outside_image(xy * factor, image, f"the {name} image")
    ]
    return [Finding(WARNING, note) for note in notes]


def _without_scale(spatial: AnnData) -> list[Finding]:
    lost = [name for name in images(spatial) if scale_factor(spatial, image_scale(name)) is None]
    return [
        Finding(
            NOTE,
            f"The {name} image has no scale factor (`{image_scale(name)}`), so it cannot be shown under the "
            "spots. Copy `scalefactors_json.json` from the run.",
        )
        for name in lost
    ]
