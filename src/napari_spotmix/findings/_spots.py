"""Whether the spots have names and places, and lie on their image."""

from __future__ import annotations

import numpy as np
from anndata import AnnData

from napari_spotmix.checks import coordinate_problems, coordinates
from napari_spotmix.findings._finding import NOTE, WARNING, Finding
from napari_spotmix.io import listed, spots_off_image
from napari_spotmix.mends import MENDS, Mend
from napari_spotmix.placing import better_moves, factor_of, images_of, pictures_of
from napari_spotmix.words import agreeing, count

__all__ = ["place_findings"]


def place_findings(spatial: AnnData) -> list[Finding]:
    """Tell of repeated barcodes, missing places, and spots that do not lie on the tissue of their image."""
    found = _repeated(spatial)
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
        "If these are several sections, name the column that tells them apart as `sample_key`, and "
        "number the repeats."
    )
    return [Finding(WARNING, text, (Mend("spatial", "name-apart"),))]


def _turned(spatial: AnnData) -> list[Finding]:
    moves = better_moves(spatial)
    if not moves:
        return []
    mends = tuple(Mend("spatial", move) for move in moves)
    words = " and ".join(MENDS[move].words.lower() for move in moves)
    text = f"The spots lie beside the stained tissue, and on it if one would {words}."
    return [Finding(WARNING, text, mends)]


def _off_image(spatial: AnnData) -> list[Finding]:
    xy = coordinates(spatial)
    notes = [
        note
        for name, image, factor in images_of(spatial)
        for note in spots_off_image(xy * factor, image, f"the {name} image")
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
