"""Write an AnnData into HDF5 block by block, so that writing can be cancelled at any time.

HDF5 compresses in one thread. Here, chunks are compressed by all cores and written with HDF5's direct chunk
write.

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

__all__ = ["copy_dataset", "row_blocks", "write_in_blocks"]

#: Bytes per block of numbers, and rows per block of names, each of which is a Python object.
_BYTES, _NAMES = 1 << 23, 1 << 16
#: Arrays of numbers with more bytes than the first are compressed by all cores, so many chunks at a time.
_CHUNKED, _AT_ONCE, _LEVEL, _NUMBERS = 1 << 20, 64, 4, "iuf"
_SPARSE = (csr_matrix, csc_matrix, csr_array, csc_array)
_ARRAYS = ("data", "indices", "indptr")


def write_in_blocks(group: h5py.Group, adata: AnnData, check_cancelled: Callable[[], None]) -> None:
    """Write `adata` into a group of a file, compressed, with the same content as anndata writes.

    Parameters
    ----------
    group : Group
        Its content is replaced.
    adata : AnnData
        Not modified.
    check_cancelled : callable
        Called several times a second; raises `Cancelled` to stop.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        write_dispatched(
            group, "/", adata, _writer(check_cancelled, pool), dataset_kwargs={"compression": "gzip"}
        )


def _writer(check_cancelled: Callable[[], None], pool: ThreadPoolExecutor) -> Callable[..., None]:
    """Return the function that anndata calls to write each element."""

    def write_one(
        write: Callable[..., None],
        group: h5py.Group,
        key: str,
        item: Any,
        *,
        dataset_kwargs: Mapping[str, Any],
        iospec: Any,
    ) -> None:
        check_cancelled()
        if item is None:
            return
        if isinstance(item, np.ndarray) and _is_large(item):
            _write_array(group, key, item, check_cancelled, pool, **dataset_kwargs)
        elif isinstance(item, _SPARSE) and _is_large(item.data):
            sparse = group.require_group(key)
            sparse.attrs["shape"] = item.shape
            for name in _ARRAYS:
                _write_array(
                    sparse,
                    name,
                    getattr(item, name),
                    check_cancelled,
                    pool,
                    maxshape=(None,),
                    **dataset_kwargs,
                )
        else:
            write(group, key, item, dataset_kwargs=dataset_kwargs)
            return
        group[key].attrs.update(
            {"encoding-type": iospec.encoding_type, "encoding-version": iospec.encoding_version}
        )

    return write_one


def _is_large(array: NDArray[Any]) -> bool:
    """Return whether an array is written in blocks; anndata writes what is neither numbers nor names."""
    if array.ndim == 0 or array.dtype.kind not in "biufO":
        return False
    return array.nbytes > _CHUNKED if array.dtype.kind in _NUMBERS else len(array) > _rows(array)


def _rows(array: NDArray[Any] | h5py.Dataset) -> int:
    """Return the number of rows of an array in one block."""
    if array.dtype.kind == "O":
        return _NAMES
    return max(1, _BYTES // max(1, array.dtype.itemsize * int(np.prod(array.shape[1:]))))


def row_blocks(array: NDArray[Any] | h5py.Dataset) -> Iterator[slice]:
    """Yield blocks of rows of an array, each small enough to be written or read in a moment.

    Examples
    --------
    >>> [rows.stop for rows in row_blocks(np.zeros((3 << 20, 1)))]
    [1048576, 2097152, 3145728]
    """
    step = _rows(array)
    return (slice(start, min(start + step, len(array))) for start in range(0, len(array), step))


def _write_array(
    group: h5py.Group,
    name: str,
    array: NDArray[Any],
    check_cancelled: Callable[[], None],
    pool: ThreadPoolExecutor,
    **kwargs: Any,
) -> None:
    kind = h5py.string_dtype() if array.dtype.kind == "O" else array.dtype
    dataset = group.create_dataset(name, array.shape, kind, **kwargs)
    if array.dtype.kind in _NUMBERS:
        _write_chunks(dataset, array, check_cancelled, pool)
        return
    for rows in row_blocks(array):
        check_cancelled()
        dataset[rows] = array[rows]


def _write_chunks(
    dataset: h5py.Dataset, array: NDArray[Any], check_cancelled: Callable[[], None], pool: ThreadPoolExecutor
) -> None:
    """Write numbers into a new dataset with gzip as its only filter, a few chunks at a time."""
    from imagecodecs import deflate_encode

    # Masked arrays are written with the numbers below the mask, as h5py does.
    chunk, array = dataset.chunks, np.asarray(array)

    def packed(offset: tuple[int, ...]) -> bytes:
        block = array[tuple(slice(start, start + n) for start, n in zip(offset, chunk, strict=True))]
        if block.shape != chunk:  # HDF5 stores whole chunks
            block = np.pad(block, [(0, n - here) for n, here in zip(chunk, block.shape, strict=True)])
        return bytes(deflate_encode(block.tobytes(), _LEVEL))

    offsets = list(product(*(range(0, n, step) for n, step in zip(array.shape, chunk, strict=True))))
    for first in range(0, len(offsets), _AT_ONCE):
        check_cancelled()
        some = offsets[first : first + _AT_ONCE]
        for offset, data in zip(some, pool.map(packed, some), strict=True):
            dataset.id.write_direct_chunk(offset, data)


def copy_dataset(
    source: h5py.Dataset, group: h5py.Group, name: str, check_cancelled: Callable[[], None]
) -> None:
    """Copy a dataset from file to file, chunk by chunk, without decompressing."""
    folder, _, last = name.rpartition("/")
    parent = group.require_group(folder) if folder else group
    like = source.id.get_type(), source.id.get_space(), source.id.get_create_plist()
    target = h5py.Dataset(h5py.h5d.create(parent.id, last.encode(), *like))
    target.attrs.update(source.attrs)
    if source.chunks is None:
        for rows in row_blocks(source):
            check_cancelled()
            target[rows] = source[rows]
        return
    for at in range(source.id.get_num_chunks()):
        check_cancelled()
        offset = source.id.get_chunk_info(at).chunk_offset
        mask, chunk = source.id.read_direct_chunk(offset)
        target.id.write_direct_chunk(offset, chunk, mask)
