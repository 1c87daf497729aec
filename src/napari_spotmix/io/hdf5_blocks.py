"""Write an AnnData into HDF5 piece by piece, so that a cancel is heard while numbers are compressed.

HDF5 compresses in one thread. So chunks are compressed here, by all cores, and written as they are.

References
----------
anndata, "On-disk format" (0.8 and later), and `anndata.experimental.write_dispatched`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import h5py
import numpy as np
from anndata import AnnData
from anndata.experimental import write_dispatched
from numpy.typing import NDArray
from scipy.sparse import csc_array, csc_matrix, csr_array, csr_matrix

from napari_spotmix.base.cores import available_cores

__all__ = ["copy_dataset", "pieces", "write_in_pieces"]

#: Bytes that are compressed at once, and names, each of which is a Python object.
_BYTES, _NAMES = 1 << 23, 1 << 16
#: Numbers that take more bytes than this are compressed by all cores, so many chunks at a time.
_CHUNKED, _AT_ONCE, _LEVEL, _NUMBERS = 1 << 20, 64, 4, "iuf"
_SPARSE = (csr_matrix, csc_matrix, csr_array, csc_array)
_ARRAYS = ("data", "indices", "indptr")


def write_in_pieces(group: h5py.Group, adata: AnnData, tell: Callable[[], None]) -> None:
    """Write `adata` into a group of a file, which is emptied, compressed; the same as anndata writes.

    Parameters
    ----------
    group : Group
    adata : AnnData
    tell : callable
        Called several times a second; what it raises ends the writing.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        write_dispatched(group, "/", adata, _writer(tell, pool), dataset_kwargs={"compression": "gzip"})


def _writer(tell: Callable[[], None], pool: ThreadPoolExecutor) -> Callable[..., None]:
    """Return what anndata calls to write each element."""

    def write_one(
        write: Callable[..., None],
        group: h5py.Group,
        key: str,
        item: Any,
        *,
        dataset_kwargs: Mapping[str, Any],
        iospec: Any,
    ) -> None:
        tell()
        if item is None:
            return
        if isinstance(item, np.ndarray) and _is_large(item):
            _write_array(group, key, item, tell, pool, **dataset_kwargs)
        elif isinstance(item, _SPARSE) and _is_large(item.data):
            sparse = group.require_group(key)
            sparse.attrs["shape"] = item.shape
            for name in _ARRAYS:
                _write_array(
                    sparse, name, getattr(item, name), tell, pool, maxshape=(None,), **dataset_kwargs
                )
        else:
            write(group, key, item, dataset_kwargs=dataset_kwargs)
            return
        group[key].attrs.update(
            {"encoding-type": iospec.encoding_type, "encoding-version": iospec.encoding_version}
        )

    return write_one


def _is_large(array: NDArray[Any]) -> bool:
    """Tell whether an array is worth pieces; what is neither number nor name is left to anndata."""
    if array.ndim == 0 or array.dtype.kind not in "biufO":
        return False
    return array.nbytes > _CHUNKED if array.dtype.kind in _NUMBERS else len(array) > _rows(array)


def _rows(array: NDArray[Any] | h5py.Dataset) -> int:
    """Return how many rows of an array are one piece."""
    if array.dtype.kind == "O":
        return _NAMES
    return max(1, _BYTES // max(1, array.dtype.itemsize * int(np.prod(array.shape[1:]))))


def pieces(array: NDArray[Any] | h5py.Dataset) -> Iterator[slice]:
    """Yield the rows of an array, as many at once as are written or read in a moment.

    Examples
    --------
    >>> [piece.stop for piece in pieces(np.zeros((3 << 20, 1)))]
    [1048576, 2097152, 3145728]
    """
    step = _rows(array)
    return (slice(start, min(start + step, len(array))) for start in range(0, len(array), step))


def _write_array(
    group: h5py.Group,
    name: str,
    array: NDArray[Any],
    tell: Callable[[], None],
    pool: ThreadPoolExecutor,
    **kwargs: Any,
) -> None:
    kind = h5py.string_dtype() if array.dtype.kind == "O" else array.dtype
    dataset = group.create_dataset(name, array.shape, kind, **kwargs)
    if array.dtype.kind in _NUMBERS:
        _write_chunks(dataset, array, tell, pool)
        return
    for rows in pieces(array):
        tell()
        dataset[rows] = array[rows]


def _write_chunks(
    dataset: h5py.Dataset, array: NDArray[Any], tell: Callable[[], None], pool: ThreadPoolExecutor
) -> None:
    """Write numbers into a new dataset that is compressed by gzip alone, a few chunks at a time."""
    from imagecodecs import deflate_encode

    # Of masked numbers those below the mask too, as h5py writes them.
    chunk, array = dataset.chunks, np.asarray(array)

    def packed(offset: tuple[int, ...]) -> bytes:
        block = array[tuple(slice(start, start + n) for start, n in zip(offset, chunk, strict=True))]
        if block.shape != chunk:  # the file holds whole chunks
            block = np.pad(block, [(0, n - here) for n, here in zip(chunk, block.shape, strict=True)])
        return bytes(deflate_encode(block.tobytes(), _LEVEL))

    offsets = list(product(*(range(0, n, step) for n, step in zip(array.shape, chunk, strict=True))))
    for first in range(0, len(offsets), _AT_ONCE):
        tell()
        some = offsets[first : first + _AT_ONCE]
        for offset, data in zip(some, pool.map(packed, some), strict=True):
            dataset.id.write_direct_chunk(offset, data)


def copy_dataset(source: h5py.Dataset, group: h5py.Group, name: str, tell: Callable[[], None]) -> None:
    """Copy numbers from file to file, chunks as they are: what is compressed is not unpacked."""
    folder, _, last = name.rpartition("/")
    place = group.require_group(folder) if folder else group
    like = source.id.get_type(), source.id.get_space(), source.id.get_create_plist()
    target = h5py.Dataset(h5py.h5d.create(place.id, last.encode(), *like))
    target.attrs.update(source.attrs)
    if source.chunks is None:
        for rows in pieces(source):
            tell()
            target[rows] = source[rows]
        return
    for at in range(source.id.get_num_chunks()):
        tell()
        offset = source.id.get_chunk_info(at).chunk_offset
        mask, chunk = source.id.read_direct_chunk(offset)
        target.id.write_direct_chunk(offset, chunk, mask)
