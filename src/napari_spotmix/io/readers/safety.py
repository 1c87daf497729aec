"""Refuse an HDF5 file of a few kilobytes that claims to hold more than a machine has memory for."""

from __future__ import annotations

import h5py

__all__ = ["refuse_decompression_bombs"]

#: Arrays larger than this, in bytes, are looked at.
_LARGE = 1 << 29
#: No counts are compressed so well: deflate itself ends at 1,032 times.
_MOST = 500


def refuse_decompression_bombs(file: h5py.File) -> None:
    """Raise ValueError if an array of the file takes far more memory than its bytes on disk could fill.

    Only what the file says of its arrays is read. It also finds arrays that were announced but never written.
    """

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        claimed, stored = (item.size or 0) * item.dtype.itemsize, item.id.get_storage_size()
        if claimed > max(_LARGE, _MOST * stored):
            raise ValueError(f"`{name}` claims {claimed:,} bytes, with {stored:,} bytes on disk")

    file.visititems(look)
