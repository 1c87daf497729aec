"""Read count matrices of 10x Genomics: HDF5 and Matrix Market folders, versions 2 and 3.

References
----------
10x Genomics, "Feature-Barcode Matrices" and "HDF5 Feature-Barcode Matrix Format" (Space Ranger 1 to 4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import pandas as pd
from anndata.abc import CSRDataset
from scipy.sparse import coo_matrix, csr_matrix, get_index_dtype

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import quoted
from napari_spotmix.io.on_disk import csr_on_disk
from napari_spotmix.io.problems import Gatherer, as_read_error, listed
from napari_spotmix.io.readers.safety import check_hdf5
from napari_spotmix.io.readers.table_parsing import open_text
from napari_spotmix.io.sparse_gate import layout_problem, pointer_problem, sparse_problem

__all__ = [
    "CountMatrix",
    "count_barcodes",
    "is_mtx",
    "matrix_files",
    "mtx_files_in",
    "read_matrix",
    "read_mtx_files",
]

GENE_EXPRESSION = "Gene Expression"
_STAGE = "Reading counts"
#: Entries of a matrix that are read at once, and names.
_ENTRIES, _NAMES = 1 << 22, 1 << 18
#: Real numbers below this are exact if they are whole.
_LARGEST = 1 << 53
#: The end of the name of a matrix in Matrix Market format, and the names of its list of features.
_MTX = re.compile(r"matrix\.mtx(\.gz)?$", re.IGNORECASE)
_FEATURES = ("features.tsv", "genes.tsv")
#: Maximum length of a line of the header, in bytes.
_LINE = 1 << 16


@dataclass
class CountMatrix:
    """Counts as they are stored in a file.

    Attributes
    ----------
    counts : csr_matrix of float32, or CSRDataset, shape (n_barcodes, n_features)
    barcodes : Index of str, length n_barcodes
    features : DataFrame, index symbols; columns gene_ids, feature_types and, where known, genome
    metadata : dict of str
        ``library_id``, ``chemistry_description``, ``software_version``, if they are in the file.
    """

    counts: csr_matrix | CSRDataset
    barcodes: pd.Index[str]
    features: pd.DataFrame
    metadata: dict[str, str] = field(default_factory=dict)

    def genes_only(self) -> CountMatrix:
        """Return the matrix without antibodies, guides and other features that are not genes."""
        keep = (self.features["feature_types"] == GENE_EXPRESSION).to_numpy()
        if keep.all():
            return self
        return CountMatrix(self.counts[:, keep], self.barcodes, self.features[keep], self.metadata)


def read_matrix(
    path: Path, root: Path, files: ExitStack | None = None, on_progress: ProgressCallback = silent
) -> CountMatrix:
    """Read the matrix at `path`, an HDF5 file or a Matrix Market folder, of the run in `root`.

    With `files`, the counts of an HDF5 file stay on disk if all its features are genes, and the file stays
    open until that stack is closed.

    Raises
    ------
    ReadError
        With the name of the file relative to `root`, and its problems.
    """
    path = _with_prefix(path)
    name = path.relative_to(root).as_posix()
    if path.is_dir() or is_mtx(path):
        return run_cancellable(lambda: _read_mtx_parts(path, root), _STAGE, on_progress)
    with as_read_error(root, name), ExitStack() as now:
        check_hdf5(path, root, name, stage=_STAGE, on_progress=on_progress)
        file = (files or now).enter_context(h5py.File(path, "r"))
        return _read_h5(file, root, name, on_progress, in_memory=files is None)


def is_mtx(path: Path) -> bool:
    """Return whether a file is a matrix in Matrix Market format, by its name; it may have a prefix."""
    return _MTX.search(path.name) is not None and path.is_file()


def mtx_files_in(folder: Path) -> list[Path]:
    """Return the matrices in Matrix Market format of a folder, each with its lists next to it."""
    found = (path for path in sorted(folder.glob("*matrix.mtx*")) if is_mtx(path))
    return [path for path in found if _part(path, "barcodes.tsv") and _part(path, *_FEATURES)]


def _with_prefix(path: Path) -> Path:
    """Return the only matrix of a folder if the files in it have a prefix, else `path`."""
    found = mtx_files_in(path) if path.is_dir() and _part(path, "matrix.mtx") is None else []
    return found[0] if len(found) == 1 else path


def matrix_files(path: Path) -> list[Path]:
    """Return the files of the matrix at `path`."""
    path = _with_prefix(path)
    if not path.is_dir() and not is_mtx(path):
        return [path]
    parts = (_part(path, "matrix.mtx"), _part(path, "barcodes.tsv"), _part(path, *_FEATURES))
    return [part for part in parts if part is not None]


def count_barcodes(path: Path) -> int | None:
    """Return the number of barcodes of the matrix at `path`, from its header alone; None if it is damaged."""
    try:
        if not path.is_dir() and not is_mtx(path):
            check_hdf5(path)
            with h5py.File(path, "r") as file:
                return _shape(_matrix_group(file, path.parent, path.name)["shape"])[1]
        matrix = _part(path, "matrix.mtx")
        if matrix is None:
            return None
        with open_text(matrix) as lines:
            return _mtx_header(lines)[1]
    except Exception:  # reported when the matrix is read
        return None


def _read_h5(
    file: h5py.File, root: Path, name: str, on_progress: ProgressCallback, *, in_memory: bool
) -> CountMatrix:
    group = _matrix_group(file, root, name)
    genes = "features" if "features" in group else "genes"
    required = ("barcodes", "data", "indices", "indptr", "shape", genes)
    missing = [key for key in required if key not in group]
    if missing:
        raise ReadError(
            root,
            f"`{name}` must hold {listed(missing)} in '{group.name}', which is missing. "
            "Copy it again from the run.",
        )
    if genes == "features" and "probe_region" in group[genes]:
        raise ReadError(
            root, f"`{name}` must count genes, but counts probes. Use `filtered_feature_bc_matrix.h5`."
        )
    barcodes = pd.Index(_strings(group["barcodes"], on_progress), dtype=object)
    features = _h5_features(group) if genes == "features" else _h5_legacy_features(group)
    _check_shape(_shape(group["shape"]), features, barcodes, root, name)
    # The file holds features x barcodes in CSC, which has the same arrays as barcodes x features in CSR.
    shape = (len(barcodes), len(features))
    whole = {key: _integers(group[key], on_progress) for key in ("indices", "indptr")}
    of_r = any(isinstance(values, np.ndarray) for values in whole.values())
    arrays = {"data": group["data"], **whole}
    _refuse(layout_problem(arrays["data"], arrays["indices"], arrays["indptr"], shape[0]), root, name)
    in_memory = in_memory or of_r or not (features["feature_types"] == GENE_EXPRESSION).all()
    counts: Any = _h5_arrays(arrays, shape, on_progress) if in_memory else csr_on_disk(group, shape)
    _refuse(run_cancellable(lambda: sparse_problem(counts), _STAGE, on_progress, 1, 1), root, name)
    if in_memory:
        run_cancellable(counts.sum_duplicates, _STAGE, on_progress, 1, 1)
    return CountMatrix(counts, barcodes, features, _h5_metadata(file))


def _refuse(problem: str, root: Path, name: str) -> None:
    if problem:
        raise ReadError(root, f"`{name}` is damaged: {problem}. Copy it again from the run.")


def _integers(array: Any, on_progress: ProgressCallback) -> Any:
    """Return integers that R wrote as real numbers, int64; anything else in a file as it is."""
    if not isinstance(array, h5py.Dataset) or array.dtype.kind != "f" or array.ndim != 1:
        return array
    whole = np.empty(array.shape, np.int64)
    for start in range(0, len(whole), _ENTRIES):
        on_progress(Progress(_STAGE, start, len(whole)))
        block = array[start : start + _ENTRIES].astype(np.float64)
        if not (np.abs(block) < _LARGEST).all() or (block != np.trunc(block)).any():
            raise ValueError(f"`{array.name}` must be whole numbers")
        whole[start : start + _ENTRIES] = block
    return whole


def _h5_arrays(group: Mapping[str, Any], shape: tuple[int, int], on_progress: ProgressCallback) -> Any:
    """Return the matrix with the arrays of a file, which have not been checked."""
    n_entries = len(group["data"])
    # The file has indices of 64 bits; for most matrices 32 bits are enough.
    index_dtype = np.dtype(get_index_dtype(maxval=max(n_entries, *shape)))
    data = _read_in_blocks(group["data"], np.dtype(np.float32), on_progress, 0)
    indices = _read_in_blocks(group["indices"], index_dtype, on_progress, n_entries)
    counts: Any = csr_matrix(shape, dtype=np.float32)  # type: ignore[arg-type]
    # Set, not given to the constructor, which may already run compiled code.
    counts.data, counts.indices = data, indices
    counts.indptr = _pointers(group["indptr"][:], n_entries, index_dtype)
    return counts


def _pointers(indptr: np.ndarray, n_entries: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return pointers as `dtype`, which holds all that are valid."""
    if problem := pointer_problem(indptr, n_entries):
        raise ValueError(problem)
    return indptr.astype(dtype)


def _read_in_blocks(
    array: Any, dtype: np.dtype[Any], on_progress: ProgressCallback, n_before: int
) -> np.ndarray:
    """Read one of the two long arrays of a matrix; `n_before` entries have been read already."""
    values = np.empty(array.shape, dtype)
    for start in range(0, len(values), _ENTRIES):
        on_progress(Progress(_STAGE, n_before + start, 2 * len(values)))
        block = array[start : start + _ENTRIES]
        if dtype.kind == "i" and not 0 <= int(block.min()) <= int(block.max()) <= np.iinfo(dtype).max:
            raise ValueError(f"indices from {block.min():,} to {block.max():,}")
        values[start : start + _ENTRIES] = block
    return values


def _matrix_group(file: h5py.File, root: Path, name: str) -> h5py.Group:
    """Return the group of the matrix: 'matrix' since version 3, before that named after the genome."""
    if isinstance(file.get("matrix"), h5py.Group):
        return file["matrix"]
    legacy = [
        key for key, item in list(file.items()) if isinstance(item, h5py.Group) and "gene_names" in item
    ]
    if len(legacy) == 1:
        return file[legacy[0]]
    found = f"{len(legacy)} genomes ({listed(legacy)})" if legacy else listed(sorted(file))
    raise ReadError(
        root,
        f"`{name}` is not a count matrix of Space Ranger: expected one group 'matrix', found {found}. "
        "Choose the folder of another run.",
    )


def _h5_features(group: h5py.Group) -> pd.DataFrame:
    features = group["features"]
    columns = {"gene_ids": _strings(features["id"]), "feature_types": _strings(features["feature_type"])}
    if "genome" in features:
        columns["genome"] = _strings(features["genome"])
    return pd.DataFrame(columns, index=pd.Index(_strings(features["name"]), dtype=object))


def _h5_legacy_features(group: h5py.Group) -> pd.DataFrame:
    ids = _strings(group["genes"])
    columns = {"gene_ids": ids, "feature_types": [GENE_EXPRESSION] * len(ids)}
    columns["genome"] = [group.name.strip("/")] * len(ids)
    return pd.DataFrame(columns, index=pd.Index(_strings(group["gene_names"]), dtype=object))


def _h5_metadata(file: h5py.File) -> dict[str, str]:
    names = {"library_ids": "library_id", "chemistry_description": "", "software_version": ""}
    found = {new or old: np.atleast_1d(file.attrs[old]) for old, new in names.items() if old in file.attrs}
    return {key: _text(values[0]) for key, values in found.items() if len(values)}


def _strings(dataset: h5py.Dataset, on_progress: ProgressCallback = silent) -> list[str]:
    """Return names as Python strings; Visium HD has millions of them."""
    if h5py.check_string_dtype(dataset.dtype) is None:
        raise ValueError(f"`{dataset.name}` must be names, found {quoted(str(dataset.dtype))}")
    names: list[str] = []
    for start in range(0, len(dataset), _NAMES):
        on_progress(Progress("Reading names", start, len(dataset)))
        names += [_text(value) for value in dataset[start : start + _NAMES]]
    if any("\0" in name for name in names):
        raise ValueError(f"`{dataset.name}` has a name with a NUL character")
    return names


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _shape(dataset: Any) -> tuple[int, int]:
    """Return the shape that a file states; it may claim any number of lengths."""
    if getattr(dataset, "shape", None) != (2,) or dataset.dtype.kind not in "iuf":
        raise ValueError("`shape` must be two integers")
    rows, columns = (int(length) for length in _integers(dataset, silent)[:])
    return rows, columns


def _check_shape(
    shape: tuple[int, int], features: pd.DataFrame, barcodes: pd.Index[str], root: Path, name: str
) -> None:
    expected = (len(features), len(barcodes))
    if shape != expected:
        raise ReadError(
            root,
            f"`{name}` does not match its lists of features and barcodes: expected a matrix of "
            f"{expected[0]} x {expected[1]}, found {shape[0]} x {shape[1]}. "
            "Copy all files again from one run.",
        )


def _read_mtx_parts(path: Path, root: Path) -> CountMatrix:
    folder = path.relative_to(root).as_posix()
    gather = Gatherer(root)
    with gather:
        barcodes = _read_list(path, root, "barcodes.tsv")[0].to_list()
    with gather:
        features = _mtx_features(_read_list(path, root, *_FEATURES))
    matrix = _part(path, "matrix.mtx")
    if matrix is None:
        gather.problems.append(f"`{folder}/matrix.mtx` (or .mtx.gz) is missing. Copy it from the run.")
    if gather.problems or matrix is None:
        raise gather.error()
    index = pd.Index(barcodes, dtype=object)
    return CountMatrix(_read_mtx(matrix, root, features, index), index, features)


def read_mtx_files(
    matrix: Path, barcodes: Path, features: Path, root: Path, on_progress: ProgressCallback = silent
) -> CountMatrix:
    """Read features x barcodes in Matrix Market format, with its two lists, whatever their names.

    Raises
    ------
    ReadError
        With the name of a file relative to `root`, and its problem.
    """

    def read() -> CountMatrix:
        index = pd.Index(_read_lines(barcodes, root)[0].to_list(), dtype=object)
        genes = _mtx_features(_read_lines(features, root))
        return CountMatrix(_read_mtx(matrix, root, genes, index), index, genes)

    return run_cancellable(read, _STAGE, on_progress)


def _part(matrix: Path, *names: str) -> Path | None:
    """Return a file in a folder, or next to a matrix, with the same prefix."""
    found = _MTX.search(matrix.name) if matrix.is_file() else None
    folder, prefix = (matrix, "") if found is None else (matrix.parent, matrix.name[: found.start()])
    candidates = (folder / (prefix + name + suffix) for name in names for suffix in (".gz", ""))
    return next((path for path in candidates if path.is_file()), None)


def _read_list(folder: Path, root: Path, *names: str) -> pd.DataFrame:
    path = _part(folder, *names)
    within = (folder if folder.is_dir() else folder.parent).relative_to(root).as_posix()
    if path is None:
        raise ReadError(root, f"`{within}/{names[0]}` (or .gz) is missing. Copy it from the run.")
    return _read_lines(path, root)


def _read_lines(path: Path, root: Path) -> pd.DataFrame:
    with as_read_error(root, path.relative_to(root).as_posix()), open_text(path) as file:
        # No quoting and no missing values: gene names may hold a quote, or be "NA" or "nan".
        return pd.read_csv(
            file, sep="\t", header=None, dtype=str, quoting=3, na_filter=False, encoding="utf-8-sig"
        )


def _mtx_features(table: pd.DataFrame) -> pd.DataFrame:
    """Return ids, symbols and types from 'features.tsv' (version 3) or 'genes.tsv' (version 2, no types)."""
    types = table[2] if table.shape[1] > 2 else [GENE_EXPRESSION] * len(table)
    symbols = table[1] if table.shape[1] > 1 else table[0]
    columns = {"gene_ids": table[0].to_list(), "feature_types": list(types)}
    return pd.DataFrame(columns, index=pd.Index(symbols.to_list(), dtype=object))


def _read_mtx(path: Path, root: Path, features: pd.DataFrame, barcodes: pd.Index[str]) -> csr_matrix:
    """Read features x barcodes in Matrix Market format and return barcodes x features.

    ``scipy.io.mmread`` is not used: it can crash the process on a damaged file (seen with SciPy 1.17).
    """
    name = path.relative_to(root).as_posix()
    with as_read_error(root, name), open_text(path) as file:
        rows, columns, n_entries = _mtx_header(file)
        # Checked before the entries are read: with a wrong header, they could need any amount of memory.
        _check_shape((rows, columns), features, barcodes, root, name)
        entries = _mtx_entries(file, (rows, columns), n_entries)
    indices = (entries["column"].to_numpy() - 1, entries["row"].to_numpy() - 1)
    return coo_matrix((entries["count"].to_numpy(), indices), shape=(columns, rows)).tocsr()


def _mtx_header(file: BinaryIO) -> tuple[int, int, int]:
    banner = file.readline(1000).decode("ascii", errors="replace").lower().split()
    if banner[:3] != ["%%matrixmarket", "matrix", "coordinate"] or banner[4:] != ["general"]:
        raise ValueError("its first line is not '%%MatrixMarket matrix coordinate integer general'")
    line = file.readline(_LINE)
    while line.startswith(b"%") or line.isspace():
        line = file.readline(_LINE)
    rows, columns, n_entries = (int(word) for word in line.split())
    return rows, columns, n_entries


def _mtx_entries(file: BinaryIO, shape: tuple[int, int], n_entries: int) -> pd.DataFrame:
    types = {"row": np.int64, "column": np.int64, "count": np.float32}
    if n_entries:
        # What no integer holds becomes one that is out of bounds.
        with np.errstate(invalid="ignore", over="ignore"):
            entries = pd.read_csv(
                file, sep=r"\s+", header=None, names=list(types), dtype=types, index_col=False
            )
    else:
        entries = pd.DataFrame({key: np.empty(0, kind) for key, kind in types.items()})
    if len(entries) != n_entries:
        raise EOFError(f"expected {n_entries:,} entries as in its header, found {len(entries):,}")
    if not np.isfinite(entries["count"]).all():
        raise ValueError("an entry without a count")
    for key, length in zip(("row", "column"), shape, strict=True):
        if not entries[key].between(1, length).all():
            raise ValueError(f"an entry whose {key} is not between 1 and {length:,}")
    return entries
