"""Changes of HDF5 files: of nodes, values, attributes, links and chunks."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz.mutators.raw import RAW
from tests.fuzz.values import text

__all__ = ["HDF5", "SPARSE"]


def _nodes(file: h5py.File, kind: Any = object) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, kind) else None)
    return found


def _chosen(file: h5py.File, moments: random.Random, kind: Any = object) -> str:
    """Choose a node; not too often one of the many in `uns`."""
    names = _nodes(file, kind)
    tops = sorted({name.split("/")[0] for name in names})
    top = moments.choice(tops)
    return moments.choice([name for name in names if name.split("/")[0] == top])


def _array(moments: random.Random, shape: tuple[int, ...]) -> Any:
    """Return an array of any kind, of a shape or of another."""
    shapes = (shape, shape, shape, (), (0,), (1,), (3, 2), (*shape, 2), tuple(n + 1 for n in shape))
    shape = moments.choice(shapes)
    kinds = (
        "f4",
        "f8",
        "f2",
        ">f4",
        "i1",
        "u8",
        "i8",
        ">i4",
        "?",
        "S5",
        "c8",
        "V6",
        "text",
        "vlen",
        "compound",
        "enum",
    )
    kind = moments.choice(kinds)
    if kind == "text":
        return np.full(shape, text(moments).replace("\0", "0"), dtype=h5py.string_dtype())
    if kind == "vlen":
        made = np.empty(shape, dtype=h5py.vlen_dtype("i4"))
        made[...] = np.array([1, 2], "i4") if shape == () else None
        return made
    if kind == "compound":
        return np.zeros(shape, dtype=[("a", "f4"), ("b", "S3")])
    if kind == "enum":
        return np.zeros(shape, dtype=h5py.enum_dtype({"FALSE": 0, "TRUE": 1}, basetype="i1"))
    fills = (0, 1, -1, 127, np.nan, np.inf, -np.inf, 1e38, 1e-45)
    with np.errstate(all="ignore"):
        return np.full(shape, moments.choice(fills), "f8").astype(kind)


def _put(file: h5py.File, name: str, value: Any) -> None:
    """Put another value at a node, with the attributes of the one before."""
    kept = dict(file[name].attrs)
    del file[name]
    file[name] = value
    file[name].attrs.update(kept)


def remove(path: Path, moments: random.Random) -> None:
    """Remove a node."""
    with h5py.File(path, "a") as file:
        del file[_chosen(file, moments)]


def replace(path: Path, moments: random.Random) -> None:
    """Put an array of another kind or shape at a node."""
    with h5py.File(path, "a") as file:
        name = _chosen(file, moments)
        _put(file, name, _array(moments, getattr(file[name], "shape", (3,)) or ()))


def values(path: Path, moments: random.Random) -> None:
    """Change a few values of an array, or all."""
    with h5py.File(path, "a") as file:
        name = _chosen(file, moments, h5py.Dataset)
        item = file[name]
        array = item[()]
        if np.ndim(array) == 0 or not np.size(array):
            return _put(file, name, _array(moments, ()))
        where = slice(None) if moments.random() < 0.3 else moments.randrange(len(array))
        kind = array.dtype.kind
        if kind == "O":
            array[where] = moments.choice((text(moments).replace("\0", "0"), array[0], b"\xff\xfe"))
        elif kind == "f":
            with np.errstate(over="ignore"):
                array[where] = moments.choice((np.nan, np.inf, -np.inf, -1.0, 0.0, 0.5, 1e30, 1e-38))
        elif kind in "iu":
            array = array.astype("i8")
            array[where] = moments.choice((-1, 0, 1, 10**6, 2**31, 2**62, -(2**63)))
        elif kind == "S":
            array[where] = moments.choice((b"", b"\xff", b"a"))
        return _put(file, name, array)


def length(path: Path, moments: random.Random) -> None:
    """Make an array shorter or longer."""
    with h5py.File(path, "a") as file:
        name = _chosen(file, moments, h5py.Dataset)
        array = file[name][()]
        if np.ndim(array):
            n = moments.choice((0, 1, len(array) - 1, len(array) + 1, len(array) * 2))
            _put(file, name, np.resize(array, (n, *array.shape[1:])))


def attribute(path: Path, moments: random.Random) -> None:
    """Change, remove or add an attribute."""
    with h5py.File(path, "a") as file:
        names = ["/", *(name for name in _nodes(file) if len(file[name].attrs))]
        attrs = file[moments.choice(names)].attrs
        key = moments.choice([*attrs, "encoding-type", "shape", "_index", "column-order", "categories"])
        if moments.random() < 0.25:
            attrs.pop(key, None)
            return
        kinds = (
            "array",
            "dict",
            "csr_matrix",
            "csc_matrix",
            "dataframe",
            "string-array",
            "string",
            "categorical",
            "anndata",
            "raw",
            "nullable-integer",
            "nullable-boolean",
            "awkward-array",
            "rec-array",
            "numeric-scalar",
            "null",
            "nullable-string-array",
            "bytes",
        )
        found: tuple[Any, ...] = (
            moments.choice(kinds),
            moments.choice(kinds),
            moments.choice(("0.1.0", "0.2.0", "9.9.9", "")),
            text(moments).replace("\0", "0"),
            _array(moments, (2,)),
            np.array([-1, 5]),
            np.array([10**9, 10**9]),
            h5py.Empty("f4"),
            np.array([2**62, 3]),
            np.array([1.5, 2.0]),
            np.array(["a", "b"], dtype=h5py.string_dtype()),
            7,
        )
        attrs[key] = moments.choice(found)


def link(path: Path, moments: random.Random) -> None:
    """Put a link at a node: to another node, to itself, to nothing, to another file."""
    with h5py.File(path, "a") as file:
        name, other = _chosen(file, moments), _chosen(file, moments)
        parent = name.rpartition("/")[0] or "/"
        kinds = (
            h5py.SoftLink("/" + other),
            h5py.SoftLink("/" + name),
            h5py.SoftLink("/"),
            h5py.SoftLink(parent),
            h5py.SoftLink("/nowhere"),
            h5py.ExternalLink("other.h5", "/a"),
            h5py.ExternalLink(str(path), "/" + other),
        )
        chosen = moments.choice((*kinds, None))
        target = file[other] if chosen is None else chosen
        del file[name]
        file[name] = target


def swap(path: Path, moments: random.Random) -> None:
    """Let two nodes change places."""
    with h5py.File(path, "a") as file:
        first, second = _chosen(file, moments), _chosen(file, moments)
        if (
            first != second
            and not (second + "/").startswith(first + "/")
            and not (first + "/").startswith(second + "/")
        ):
            file.move(first, "temporary")
            file.move(second, first)
            file.move("temporary", second)


def rename(path: Path, moments: random.Random) -> None:
    """Give a node another name."""
    with h5py.File(path, "a") as file:
        name = _chosen(file, moments)
        parent = name.rpartition("/")[0]
        new = text(moments).replace("\0", "0").strip("/.") or "x"
        file.move(name, f"{parent}/{new}" if parent else new)


def claim(path: Path, moments: random.Random) -> None:
    """Put an array at a node that claims far more than the file holds, or just less than is refused."""
    with h5py.File(path, "a") as file:
        name = _chosen(file, moments, h5py.Dataset)
        shape = file[name].shape or (1,)
        n = moments.choice((10**6, 10**7, 10**8, 2**40))
        kept = dict(file[name].attrs)
        del file[name]
        kind = moments.choice(("f4", "f8", "i1", "S100000", h5py.string_dtype(), "u1"))
        shapes = ((n,), (*shape[:-1], n), (n, *shape[1:]), shape)
        shape = moments.choice(shapes)
        chunks = tuple(min(length or 1, moments.choice((1, 1000, 2**16))) for length in shape)
        options: dict[str, Any] = {"chunks": chunks, "compression": moments.choice(("gzip", "lzf", None))}
        item = file.create_dataset(name, shape, kind, maxshape=(None,) * len(shape), **options)
        item.attrs.update(kept)


def chunk(path: Path, moments: random.Random) -> None:
    """Write noise as a chunk of a compressed array."""
    with h5py.File(path, "a") as file:
        name = _chosen(file, moments, h5py.Dataset)
        array, kept = file[name][()], dict(file[name].attrs)
        if np.ndim(array) == 0 or not np.size(array):
            return
        del file[name]
        item = file.create_dataset(
            name, data=array, chunks=array.shape, compression="gzip", shuffle=moments.random() < 0.5
        )
        item.attrs.update(kept)
        offset = (0,) * array.ndim
        _, packed = item.id.read_direct_chunk(offset)
        noise = (
            b"",
            b"\0" * 10,
            packed[: len(packed) // 2],
            moments.randbytes(50),
            packed[:-1] + b"\x77",
            packed * 2,
        )
        item.id.write_direct_chunk(offset, moments.choice(noise), moments.choice((0, 0, 1, 3)))


def storage(path: Path, moments: random.Random) -> None:
    """Keep the values of an array elsewhere: in another file, or as a view of others."""
    with h5py.File(path, "a") as file:
        name = _chosen(file, moments, h5py.Dataset)
        array, kept = file[name][()], dict(file[name].attrs)
        if np.ndim(array) == 0 or array.dtype.kind not in "iuf" or not array.size:
            return
        if moments.random() < 0.5:
            del file[name]
            file.create_dataset(
                name, array.shape, array.dtype, external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]
            )
        else:
            file.move(name, "of_view")
            layout = h5py.VirtualLayout(array.shape, array.dtype)
            layout[...] = h5py.VirtualSource(".", "of_view", shape=array.shape)
            file.create_virtual_dataset(name, layout)
        file[name].attrs.update(kept)


def sparse(path: Path, moments: random.Random) -> None:
    """Change one of the three arrays of a sparse matrix, or its shape."""
    with h5py.File(path, "a") as file:
        groups = [
            name for name in _nodes(file, h5py.Group) if {"data", "indices", "indptr"} <= set(file[name])
        ]
        group = file[moments.choice(groups)]
        part = moments.choice(("data", "indices", "indices", "indptr", "indptr", "shape"))
        if part == "shape":
            shape = np.array(group.attrs["shape"] if "shape" in group.attrs else group["shape"][()], "i8")
            changed = moments.choice(
                (shape + 1, shape - 1, shape[::-1], shape * 10**6, -shape, shape[:1], shape * 0)
            )
            if "shape" in group.attrs:
                group.attrs["shape"] = changed
            else:
                del group["shape"]
                group["shape"] = changed
            return
        array = group[part][()]
        at = moments.randrange(len(array))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an earlier change may have made complex numbers of them
            wide = array.astype("i8") if part != "data" else array.astype("f8")
        number = moments.choice((-1, 0, 1, len(array), 10**6, 2**31, 2**32, 2**62, -(2**63)))
        one = wide.copy()
        one[at] = number
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # overflows are the point
            changed = moments.choice(_changes(wide, one, number))
        del group[part]
        group[part] = changed


def _changes(wide: Any, one: Any, number: int) -> tuple[Any, ...]:
    """Return an array of a sparse matrix, changed in every way; in `one`, only one value is."""
    return (
        one,
        one,
        one,
        wide + 1,
        wide[:-1],
        np.append(wide, wide[-1:]),
        wide[::-1],
        wide + 0.5,
        wide.astype("S20"),
        wide * 0,
        wide.reshape(1, -1),
        wide.astype("u1"),
        wide[:0],
        np.sort(wide),
        np.full_like(wide, number),
        h5py.Empty("i4"),
        wide.astype(">i8"),
        wide.astype("u8"),
        np.full(len(wide), np.nan),
        wide.astype("f2"),
        wide.astype("c8"),
    )


HDF5 = (
    *(
        remove,
        replace,
        replace,
        values,
        values,
        values,
        length,
        attribute,
        attribute,
        attribute,
        link,
        swap,
        rename,
    ),
    *(claim, chunk, storage, *RAW),
)
SPARSE = (sparse,)
