"""Whether the spots have names and places, and lie on their image."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.access import coordinates
from napari_spotmix.dataset.diagnostics.finding import NOTE, WARNING, Finding
from napari_spotmix.dataset.fixes import FIXES, Fix
from napari_spotmix.dataset.registration import better_moves, factor_of, images_of, pictures_of
from napari_spotmix.dataset.validation import coordinate_problems
from napari_spotmix.io import listed, spots_outside_image

__all__ = ["place_findings"]


#: From this share of spots on that have no place of their own, it is no accident.
_MANY_TOGETHER = 0.1


def place_findings(spatial: AnnData, library_key: str | None = None) -> list[Finding]:
    """Tell of repeated barcodes, missing places, and spots that do not lie on the tissue of their image."""
    found = _repeated(spatial) + _without_sample(spatial, library_key)
    if coordinate_problems(spatial):
        return found
    xy = coordinates(spatial)
    n_lost = int((~np.isfinite(xy).all(axis=1)).sum())
    if n_lost:
        have, are = agreeing(n_lost, "have"), agreeing(n_lost, "are")
        text = (
            f"{n_lost:,} of {len(xy):,} spots {have} a coordinate that is NaN or infinite, and {are} kept, "
            "with NaN as proportions. Where there are places, read the positions again."
        )
        found.append(Finding(WARNING, text))
    found += _together(spatial, xy, library_key)
    return found + _turned(spatial) + _off_image(spatial) + _without_scale(spatial)


def _repeated(spatial: AnnData) -> list[Finding]:
    names = spatial.obs_names
    if not names.has_duplicates:
        return []
    twice = names[names.duplicated()].unique()
    text = (
        f"{count(len(twice), 'barcode')} of spots {agreeing(len(twice), 'are')} found more than once "
        f"({listed(list(twice), most=3)}), so "
        "that tables of the result would be ambiguous. "
        "If these are several sections, name the column that tells them apart as `library_key`, and "
        "number the repeats."
    )
    return [Finding(WARNING, text, (Fix("spatial", "name-apart"),))]


def _without_sample(spatial: AnnData, library_key: str | None) -> list[Finding]:
    if library_key not in spatial.obs:  # not asked for, or a problem
        return []
    n_lost = int(spatial.obs[library_key].isna().sum())
    if n_lost in (0, spatial.n_obs):  # none at all is a problem
        return []
    text = (
        f"{n_lost:,} of {spatial.n_obs:,} spots {agreeing(n_lost, 'have')} no value in {library_key!r}, and "
        f"{agreeing(n_lost, 'are')} taken for a section of their own. Fill the column."
    )
    return [Finding(WARNING, text)]


def _together(spatial: AnnData, xy: NDArray[np.float64], library_key: str | None) -> list[Finding]:
    """Tell of spots that lie in one place: they would be each other's nearest neighbors."""
    sample = pd.factorize(spatial.obs[library_key])[0] if library_key in spatial.obs else 0
    places = pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "sample": sample}).dropna()
    n_together = int(places.duplicated(keep=False).sum())
    if n_together == 0 or n_together < _MANY_TOGETHER * len(places):
        return []
    text = f"{n_together:,} of {len(places):,} spots lie where another one lies. Look at the coordinates."
    if library_key is None:
        text += " If these are several sections, name the column that tells them apart as `library_key`."
    return [Finding(WARNING, text)]


def _turned(spatial: AnnData) -> list[Finding]:
    moves = better_moves(spatial)
    if not moves:
        return []
    fixes = tuple(Fix("spatial", move) for move in moves)
    words = " and ".join(FIXES[move].words.lower() for move in moves)
    text = f"The spots lie beside the stained tissue, and on it if one would {words}."
    return [Finding(WARNING, text, fixes)]


def _off_image(spatial: AnnData) -> list[Finding]:
    xy = coordinates(spatial)
    notes = [
        note
        for name, image, factor in images_of(spatial)
        for note in spots_outside_image(xy * factor, image, f"the {name} image")
    ]
    return [Finding(WARNING, note) for note in notes]


def _without_scale(spatial: AnnData) -> list[Finding]:
    lost = [name for name in pictures_of(spatial) if factor_of(spatial, name) is None]
    return [
        Finding(
            NOTE,
            f"The {name} image has no scale factor (`tissue_{name}_scalef`), so that its place is not known. "
            "Copy `scalefactors_json.json` from the run.",
        )
        for name in lost
    ]
