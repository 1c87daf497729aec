"""Opens folders of a section, .h5ad files with coordinates and GEM, by drag and drop or File > Open.

Tables are not claimed by their file extensions: most CSV files are not ours. A folder with counts and
coordinates certainly is a section.

napari calls a reader in the thread of the window, and drops what its errors say. So an open window gets the
path at once, and reads it in a thread of its own, as the form does; a script waits for the layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.keys import SPATIAL
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.ui._open import is_window_open, open_in_window

if TYPE_CHECKING:
    from napari.types import FullLayerData

__all__ = ["get_reader", "read_tissue"]

#: What a reader returns to napari if it has no layers.
_LATER: tuple[Any, ...] = ((None,),)


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[FullLayerData]] | None:
    """Return a reader of spots if `path` certainly holds them, None for anything else.

    In an open window, the user has chosen the plugin or its file extension: no file is touched, and the
    window says what is wrong with it.
    """
    if not isinstance(path, str):
        return get_reader(path[0]) if len(path) == 1 else None
    if is_window_open():
        return _open_later
    from napari_spotmix.io.readers.detect import detect_format

    found = detect_format(path)
    if found.kind in ("h5ad", "anndata_zarr") and not _has_coordinates(found.path):
        return None
    return _read_one if found.is_spatial else None


def _open_later(path: str | Sequence[str]) -> list[FullLayerData]:
    """Let the dock read the path; return napari's sign for no layers, which come later."""
    open_in_window(path if isinstance(path, str) else path[0])
    return list(_LATER)


def _has_coordinates(path: Path) -> bool:
    """Return whether there are coordinates of spots: single cells without them are not ours to open."""
    import h5py

    from napari_spotmix.io.readers.safety import check_hdf5

    if path.is_dir():
        return (path / "obsm" / SPATIAL).is_dir()
    try:
        check_hdf5(path, on_progress=_for_a_moment())
        with h5py.File(path, "r") as file:
            return f"obsm/{SPATIAL}" in file
    except (OSError, Cancelled, InputError):
        return True  # damaged: reading it reports what is wrong


def _for_a_moment() -> ProgressCallback:
    """Return a callback that cancels after two seconds: napari waits for the answer."""
    end = time.monotonic() + 2.0

    def check(_: Progress) -> None:
        if time.monotonic() > end:
            raise Cancelled

    return check


def _read_one(path: str | Sequence[str]) -> list[FullLayerData]:
    return read_tissue(path if isinstance(path, str) else path[0])


def read_tissue(path: str) -> list[FullLayerData]:
    """Read the tissue image and the spots, in register.

    Raises
    ------
    ReadError
        If the file or folder cannot be read, or holds no coordinates of spots.
    """
    from napari_spotmix.io import choices, read_spatial
    from napari_spotmix.ui.canvas.layer_info import TissueInfo
    from napari_spotmix.ui.canvas.layers import tissue_layers
    from napari_spotmix.ui.state.loaded import LoadedTissue
    from napari_spotmix.ui.state.opening import one_section
    from napari_spotmix.ui.text import display_name

    whole = LoadedTissue(read_spatial(path), display_name(Path(path)), Path(path), choices=choices(path))
    tissue = one_section(whole)
    return tissue_layers(TissueInfo(tissue.adata, tissue.path, tissue.reading, tissue.choices), tissue.name)
