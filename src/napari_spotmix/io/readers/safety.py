"""Refuse decompression bombs: small HDF5 files with arrays that are larger than the memory of a machine."""

from __future__ import annotations

import h5py

__all__ = ["refuse_decompression_bombs"]

#: Only arrays larger than this, in bytes, are checked.
_LARGE = 1 << 29
#: Highest plausible compression of counts; the limit of deflate is 1,032.
_MOST = 500


def refuse_decompression_bombs(file: h5py.File) -> None:
    """Raise ValueError if an array needs far more memory than its bytes on disk can hold.

    Only the metadata of the arrays are read. Arrays that were created but never written are found too.
    """

    def check(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        claimed, stored = (item.size or 0) * item.dtype.itemsize, item.id.get_storage_size()
        if claimed > max(_LARGE, _MOST * stored):
            raise ValueError(f"`{name}` claims {claimed:,} bytes, with {stored:,} bytes on disk")

    file.visititems(check)
