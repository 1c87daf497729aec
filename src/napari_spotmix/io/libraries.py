"""The libraries of a file, one for each section: their names, and one of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import SPATIAL
from napari_spotmix.base.text import count, quoted
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import close_files, is_on_disk
from napari_spotmix.io.problems import listed

__all__ = ["libraries", "library_column", "only_section", "section_names"]


def libraries(spatial: AnnData) -> dict[str, Mapping[str, Any]]:
    """Return the libraries of ``uns['spatial']`` by name.

    Files of CELLxGENE have other values there too, such as ``is_single``; these are not libraries.

    Examples
    --------
    >>> from anndata import AnnData
    >>> spots = AnnData(uns={"spatial": {"is_single": True, "A1": {"images": {}}}}, shape=(1, 1))
    >>> list(libraries(spots))
    ['A1']
    """
    found = spatial.uns.get(SPATIAL)
    if not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if isinstance(value, Mapping)}


def library_column(spatial: AnnData) -> str | None:
    """Return the column of ``obs`` whose values name the libraries, if there are several, else None.

    Examples
    --------
    >>> from anndata import AnnData
    >>> obs = pd.DataFrame({"slide": ["A", "B"]}, index=["1", "2"])
    >>> library_column(AnnData(obs=obs, uns={"spatial": {"A": {}, "B": {}}}))
    'slide'
    """
    names = set(libraries(spatial))
    if len(names) < 2:
        return None
    for column in spatial.obs:
        values = spatial.obs[column]
        if pd.api.types.is_float_dtype(values.dtype):
            continue
        found = {str(value) for value in values.dropna().unique()}
        if len(found) > 1 and found <= names:
            return str(column)
    return None


def section_names(spatial: AnnData) -> tuple[str, ...]:
    """Return the names of the sections in a file that holds several, in the order of its libraries.

    Examples
    --------
    >>> obs = pd.DataFrame({"slide": ["A", "B"]}, index=["1", "2"])
    >>> section_names(AnnData(obs=obs, uns={"spatial": {"A": {}, "B": {}, "C": {}}}))
    ('A', 'B')
    """
    column = library_column(spatial)
    if column is None:
        return ()
    found = set(spatial.obs[column].astype(str))
    return tuple(name for name in libraries(spatial) if name in found)


def only_section(spatial: AnnData, name: str, path: Path) -> AnnData:
    """Return the spots of one section with its own library, in memory; a note says how many there are.

    Raises
    ------
    ReadError
        If there is no section of this name.

    Examples
    --------
    >>> obs = pd.DataFrame({"slide": ["A", "B"]}, index=["1", "2"])
    >>> both = AnnData(obs=obs, uns={"spatial": {"A": {}, "B": {}}})
    >>> only_section(both, "B", Path("both.h5ad")).obs_names.to_list()
    ['2']
    """
    names = section_names(spatial)
    if name not in names:
        found = (
            f"the file has {listed(names)}: choose one of them"
            if names
            else "the file holds one section: leave it out"
        )
        raise ReadError(path, f"`section`: {quoted(name)} was not found; {found}.")
    column = library_column(spatial)
    own = np.flatnonzero(spatial.obs[column].astype(str) == name)
    n_all, was_on_disk = spatial.n_obs, is_on_disk(spatial.X)
    kept = spatial[own].to_memory() if was_on_disk else spatial[own].copy()
    if was_on_disk:
        close_files(spatial)
    kept.uns[SPATIAL] = {name: dict(libraries(kept)[name])}
    add_notes(kept, [f"Section {quoted(name)}: {len(own):,} of the file's {count(n_all, 'spot')}."])
    return kept
