"""How functions are compiled, and how compiled code is kept on disk."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from numba import njit

__all__ = ["compiled", "inlined", "source_stamp"]


def compiled(function):
    """Compile when first called, and keep the code on disk if numba finds a folder for it.

    numba discards stored code when the file of the function changes. But the code of a kernel also holds the
    functions that it calls, and those are in other files: so what counts here are all files of this folder.
    """
    try:
        kernel = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither the package's folder nor the home folder can be written to
        return njit(nogil=True, error_model="numpy")(function)
    if kernel is not function:  # with NUMBA_DISABLE_JIT nothing is compiled
        kernel._cache._cache_file._source_stamp = source_stamp()
    return kernel


def inlined(function):
    """Compile as part of each kernel that calls it: a call for every spot would cost as much as the work."""
    return njit(nogil=True, error_model="numpy", forceinline=True)(function)


@cache
def source_stamp():
    """Return a checksum of all source files of the kernels."""
    checksum = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        checksum.update(path.name.encode() + b"\0" + path.read_bytes())
    return checksum.hexdigest()
