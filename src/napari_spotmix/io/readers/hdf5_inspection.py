"""Inspect the structure of an HDF5 file, without reading its data, in a process of its own.

HDF5 follows what a file says: a damaged file can end the process, or keep it busy forever while no other
thread runs. Therefore `safety` runs this module as a script, which it can end. It needs nothing but h5py.

Refused are arrays that are in other files (external storage, external links, virtual datasets), groups that
hold themselves, and arrays that claim far more memory than the file can hold.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

__all__ = ["inspect"]

#: Arrays and files that claim less, in bytes, are never refused.
_LARGE = 1 << 29
#: Highest plausible compression of counts; the limit of deflate is 1,032.
_MOST = 500
#: Bytes in memory for a byte of fixed-length text, which becomes NumPy's text of 4 bytes a letter.
_TEXT = 5
#: Bytes in memory for a name, besides its letters, and for a group or array, besides its values.
_NAME, _NODE = 57, 1000
#: Bytes in memory of HDF5 for each chunk of an array that is read, whether or not it is stored; and how many
#: times the bytes of its values all chunks may take.
_CHUNK, _MOST_OF_CHUNKS = 2700, 8
#: Names read at once, and groups within each other.
_NAMES, _DEEPEST = 1 << 10, 64
#: Limits of the process: seconds of computing for one file, and bytes of memory.
_SECONDS, _MEMORY = 60, 2 << 30

_COPY = "Save the file again with its arrays inside."


class _Refused(Exception):
    """A file that must not be read; the message says which node, and why."""


def inspect(path: str) -> dict[str, Any]:
    """Inspect one file.

    Returns
    -------
    dict
        ``claimed``, the bytes of all its arrays; or ``problem``, why it is refused; or ``error`` and
        ``number``, what HDF5 says and the number of the system's error, if there is one.

    Examples
    --------
    >>> inspect("no/such/file.h5ad")["number"]
    2
    """
    try:
        with h5py.File(path, "r") as file:
            claimed = _Walk(Path(path).stat().st_size).group(file, "", ())
        return {"claimed": claimed}
    except _Refused as error:
        return {"problem": str(error)}
    except Exception as error:
        return {"error": str(error), "number": getattr(error, "errno", None)}


class _Walk:
    """One walk over all nodes of a file, each inspected once, however many links lead to it.

    Parameters
    ----------
    size : int
        Size of the file in bytes.
    """

    def __init__(self, size: int) -> None:
        self.limit = max(_LARGE, _MOST * size)
        self.known: dict[Any, int] = {}

    def group(self, group: h5py.Group, name: str, above: tuple[Any, ...]) -> int:
        """Return the bytes that a group claims: what is linked twice is read twice."""
        if len(above) > _DEEPEST:
            raise _Refused(f"holds groups within each other, more than {_DEEPEST} deep, at `{_shown(name)}`")
        _read_attributes(group)
        claimed = _NODE + _claimed_names(group)
        if claimed > self.limit:
            self.refuse(name, claimed, "")
        for inner, item in _items(group, name):
            address = h5py.h5o.get_info(item.id).addr
            if address in above:
                raise _Refused(f"has a group that holds itself, `{_shown(inner)}`. Remove that link.")
            if address not in self.known:
                is_group = isinstance(item, h5py.Group)
                self.known[address] = (
                    self.group(item, inner, (*above, address)) if is_group else self.array(item, inner)
                )
            claimed += self.known[address]
            if claimed > self.limit:
                self.refuse(name or "/", claimed, "")
        return claimed

    def array(self, item: Any, name: str) -> int:
        """Return the bytes that an array claims."""
        if not isinstance(item, h5py.Dataset):
            return _NODE
        if item.external:
            raise _Refused(f"keeps the values of `{_shown(name)}` in another file. {_COPY}")
        if item.is_virtual:
            raise _Refused(f"takes the values of `{_shown(name)}` from other arrays (virtual). {_COPY}")
        _read_attributes(item)
        stored, n_values, claimed = item.id.get_storage_size(), item.size or 0, _claimed(item)
        if item.chunks is not None:
            item.id.get_num_chunks()  # goes through the whole index
        if claimed > max(_LARGE, _MOST * stored):
            self.refuse(name, claimed, f", with {stored:,} bytes on disk")
        of_chunks = _CHUNK * _n_chunks(item)
        if of_chunks > max(_LARGE, _MOST_OF_CHUNKS * (claimed - of_chunks)):
            self.refuse(name, claimed, f", most for its {_n_chunks(item):,} tiny chunks")
        return _NODE + claimed + (self.text(item, name) if n_values and _is_text(item.dtype) else 0)

    def text(self, item: h5py.Dataset, name: str) -> int:
        """Return the bytes of names, which can all be the same long one on disk."""
        if item.ndim == 0:
            return len(bytes(item[()]))
        claimed = 0
        for start in range(0, len(item), _NAMES):
            claimed += sum(map(len, item[start : start + _NAMES].ravel()))
            if claimed > self.limit:
                self.refuse(name, claimed, "")
        return claimed

    def refuse(self, name: str, claimed: int, words: str) -> None:
        """Say what claims too much."""
        raise _Refused(
            f"claims too much memory: `{_shown(name)}` claims {claimed:,} bytes{words}. "
            "Copy or download it again, or remove that part."
        )


def _items(group: h5py.Group, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what a group holds; links that lead nowhere are skipped, and fail if they are read."""
    for key in group:
        inner = f"{name}/{key}" if name else key
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _Refused(f"has a link to another file, `{_shown(inner)}`. {_COPY}")
        try:
            item = group[key]
        except (KeyError, OSError):
            continue
        if item.file.id.id != group.file.id.id and item.file.filename != group.file.filename:
            raise _Refused(f"has a link to another file, `{_shown(inner)}`. {_COPY}")
        yield inner, item


def _claimed(item: h5py.Dataset) -> int:
    """Return the bytes of an array in memory, without the letters of names of any length."""
    n_chunk = 1
    for length in item.chunks or ():
        n_chunk *= length
    is_stored = item.id.get_storage_size() > 0
    n_values = max(int(item.size or 0), n_chunk if is_stored else 0)
    of_chunks = _CHUNK * _n_chunks(item)
    if h5py.check_string_dtype(item.dtype) is None:
        return of_chunks + n_values * int(item.dtype.itemsize)
    return of_chunks + n_values * (_NAME if _is_text(item.dtype) else _TEXT * int(item.dtype.itemsize))


def _claimed_names(group: h5py.Group) -> int:
    """Return the bytes of the names that rows and columns of a sparse matrix get if they have none."""
    if "indptr" not in group:
        return 0
    for key in ("shape", "h5sparse_shape"):
        with suppress(Exception):  # no shape, which is refused when the matrix is read
            return _NAME * sum(max(int(length), 0) for length in group.attrs[key])
    return 0


def _n_chunks(item: h5py.Dataset) -> int:
    """Return how many chunks an array has, stored or not."""
    if item.chunks is None or not item.size:
        return 0
    return math.prod(-(-length // chunk) for length, chunk in zip(item.shape, item.chunks, strict=True))


def _is_text(dtype: Any) -> bool:
    """Return whether values have any length: text, or arrays."""
    found = h5py.check_string_dtype(dtype)
    return h5py.check_vlen_dtype(dtype) is not None if found is None else found.length is None


def _read_attributes(item: Any) -> None:
    """Read all attributes, so that damage is met here. Some valid ones cannot be read, nor need be."""
    for key in item.attrs:
        try:
            item.attrs[key]
        except (OSError, TypeError, ValueError, KeyError):
            continue


def _shown(name: str) -> str:
    plain = name.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= 100 else plain[:99] + "…"


def _limit() -> None:
    """Limit memory, and the computing for one file, since its parent may have ended."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + _SECONDS
    for kind, limit in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_DATA, _MEMORY)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _serve() -> None:
    """Answer each path on standard input with what `inspect` finds, in JSON."""
    for line in sys.stdin:
        _limit()
        print(json.dumps(inspect(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
