"""Write the layouts of instruments, programs and archives as they are published, one function each.

All hold the same small section (see `section`), so that what is read can be compared with what was written.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.io.layouts import SCALE_FACTORS, Section, section, write_h5, write_mtx, write_png, write_positions

__all__ = ["geo", "geo_matrix", "merscope", "row_names_of_r", "small", "write_table"]


def small(n_spots: int = 12) -> Section:
    """Return a section of spots that are all under tissue, with unique gene names."""
    made = section(n_spots, n_genes=7, n_outside=0)
    made.symbols = [f"Gene{number}" for number in range(len(made.symbols))]
    return made


def write_table(
    path: Path, header: Sequence[object], rows: Iterable[Sequence[object]], delimiter: str = ","
) -> None:
    """Write a table as text, gzipped if its name says so."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def row_names_of_r(folder: Path, made: Section) -> Path:
    """Write ``counts.csv`` and ``coords.csv`` as R's write.csv and a reader that calls their row names X."""
    folder.mkdir(parents=True)
    by_gene = zip(made.symbols, *made.counts, strict=True)
    write_table(folder / "counts.csv", ["", *made.barcodes], by_gene)
    rows = zip(made.barcodes, *made.xy.T, strict=True)
    write_table(folder / "coords.csv", ["X", "x", "y"], reversed(list(rows)))
    return folder


def merscope(folder: Path, made: Section, *, header: str = "EntityID") -> Path:
    """Write the output of Vizgen's MERSCOPE, whose first column has been called ``""`` and ``EntityID``."""
    folder.mkdir(parents=True)
    made.barcodes = [str(110883424764611924400221639916314253469 + n) for n in range(len(made.barcodes))]
    blanks = np.ones((len(made.counts), 1), int)
    counts = zip(made.barcodes, *np.hstack([made.counts, blanks]).T, strict=True)
    write_table(folder / "cell_by_gene.csv", ["cell", *made.symbols, "Blank-1"], counts)
    columns = ["fov", "volume", "center_x", "center_y", "min_x", "min_y", "max_x", "max_y"]
    rows = [
        [name, 0, 400.5, x, y, x - 5, y - 5, x + 5, y + 5]
        for name, (x, y) in zip(made.barcodes, made.xy, strict=True)
    ]
    write_table(folder / "cell_metadata.csv", [header, *columns], reversed(rows))
    return folder


def _zipped(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def geo(folder: Path, made: Section, sample: str, *, matrix: str = "h5", spatial: str = "") -> Path:
    """Write a sample as it is downloaded from GEO: files gzipped one by one, their names with a prefix.

    All are in one folder, or all but the matrix in a folder `spatial`. Returns the matrix.
    """
    folder.mkdir(parents=True, exist_ok=True)
    others = folder / spatial
    others.mkdir(exist_ok=True)
    all_spots = np.ones(len(made.barcodes), bool)
    write_positions(others / f"{sample}_tissue_positions_list.csv", made, header=False)
    (others / f"{sample}_scalefactors_json.json").write_text(json.dumps(SCALE_FACTORS))
    for resolution in ("hires", "lowres"):
        write_png(others / f"{sample}_tissue_{resolution}_image.png", resolution)
    for path in list(others.glob(f"{sample}_*")):
        _zipped(path)
    if matrix == "mtx":
        return geo_matrix(folder, made, sample)
    path = folder / f"{sample}_filtered_feature_bc_matrix.h5"
    write_h5(path, made, all_spots)
    return path


def geo_matrix(folder: Path, made: Section, sample: str) -> Path:
    """Write the three gzipped files of a matrix flat into a folder; returns the matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = folder / "parts"
    write_mtx(parts, made, np.ones(len(made.barcodes), bool), zipped=True, legacy=False)
    for path in parts.iterdir():
        path.rename(folder / f"{sample}_{path.name}")
    parts.rmdir()
    return folder / f"{sample}_matrix.mtx.gz"
