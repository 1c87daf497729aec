"""Write the layouts of instruments, programs and archives as they are published, one function each.

All hold the same small section (see `section`), so that what is read can be compared with what was written.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.io
from scipy.sparse import coo_matrix

from tests.io.layouts import (
    SCALE_FACTORS,
    Section,
    section,
    write_folder,
    write_h5,
    write_mtx,
    write_png,
    write_positions,
)

#: Corners of the outline of each cell, around its center; no square, so that x and y cannot be swapped.
CORNERS = np.array([[-4.0, -2.0], [4.0, -2.0], [4.0, 2.0], [-4.0, 2.0]])

__all__ = [
    "CORNERS",
    "cell_gef",
    "cosmx",
    "curio",
    "gef",
    "geo",
    "geo_matrix",
    "merscope",
    "row_names_of_r",
    "segmented",
    "small",
    "write_table",
    "xenium",
]


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


def cosmx(folder: Path, made: Section, *, zipped: bool = False) -> Path:
    """Write the flat files of CosMx: two fields of view, cell 0 of each, and controls among the genes."""
    folder.mkdir(parents=True)
    n, end = len(made.barcodes), ".csv.gz" if zipped else ".csv"
    fov, cell = np.divmod(np.arange(n), n // 2) + np.array([[1], [1]])
    made.barcodes = [f"{a}_{b}" for a, b in zip(cell, fov, strict=True)]
    outside = [[number, 0, *[9] * len(made.symbols), 7, 7] for number in (1, 2)]
    rows = [
        [*key, *row, 1, 2] for key, row in zip(zip(fov, cell, strict=True), made.counts.tolist(), strict=True)
    ]
    columns = ["fov", "cell_ID", *made.symbols, "Negative1", "SystemControl12"]
    write_table(folder / f"S1_exprMat_file{end}", columns, [*outside, *rows])
    local = made.xy - (made.xy.min(axis=0) + fov[:, None])
    metadata = zip(fov, cell, [5000] * n, *local.T, *made.xy.T, strict=True)
    names = ["CenterX_local_px", "CenterY_local_px", "CenterX_global_px", "CenterY_global_px"]
    write_table(
        folder / f"S1_metadata_file{end}", ["fov", "cell_ID", "Area", *names], reversed(list(metadata))
    )
    write_table(
        folder / f"S1_fov_positions_file{end}", ["fov", "x_global_px", "y_global_px"], [[1, 0, 0], [2, 9, 0]]
    )
    return folder


def curio(folder: Path, made: Section, sample: str = "Mouse_A0029") -> Path:
    """Write the output folder of Curio Seeker, with its tables of clusters and its unreadable .rds."""
    folder.mkdir(parents=True)
    made.barcodes = [name.removesuffix("-1") for name in made.barcodes]
    before = f"{folder}/{sample}_"
    scipy.io.mmwrite(f"{before}MoleculesPerMatchedBead.mtx", coo_matrix(made.counts.T), field="integer")
    Path(f"{before}barcodes.tsv").write_text("".join(f"{name}\n" for name in made.barcodes))
    Path(f"{before}genes.tsv").write_text("".join(f"{name}\t{name}\n" for name in made.symbols))
    beads = reversed(list(zip(made.barcodes, *made.xy.T, strict=True)))
    write_table(Path(f"{before}MatchedBeadLocation.csv"), ["", "SPATIAL_1", "SPATIAL_2"], beads)
    clusters = zip(made.barcodes, range(len(made.barcodes)), strict=True)
    write_table(Path(f"{before}cluster_assignment.txt"), ["", "0"], clusters, delimiter="\t")
    write_table(Path(f"{before}Metrics.csv"), ["Metric", "Value"], [["Total Reads", 100]])
    Path(f"{before}seurat.rds").write_bytes(b"RDX3")
    return folder


def xenium(folder: Path, made: Section, *, matrix: str = "h5", cells: str = "parquet") -> Path:
    """Write the bundle of Xenium: `matrix` is h5 or mtx, `cells` parquet or csv.gz; with controls."""
    folder.mkdir(parents=True)
    made.barcodes = [
        f"{''.join('abcdefghij'[int(digit)] for digit in f'{n:08d}')}-1" for n in range(len(made.barcodes))
    ]
    with_controls = replace(
        made,
        counts=np.hstack([made.counts, np.ones((len(made.counts), 2), int)]),
        gene_ids=[*made.gene_ids, "NegControlProbe_00042", "UnassignedCodeword_0006"],
        symbols=[*made.symbols, "NegControlProbe_00042", "UnassignedCodeword_0006"],
        types=[*made.types, "Negative Control Probe", "Unassigned Codeword"],
    )
    every = np.ones(len(made.barcodes), bool)
    if matrix == "h5":
        write_h5(folder / "cell_feature_matrix.h5", with_controls, every)
    else:
        write_mtx(folder / "cell_feature_matrix", with_controls, every, zipped=True, legacy=False)
    x, y = made.xy.T
    table = pd.DataFrame({"cell_id": made.barcodes, "x_centroid": x, "y_centroid": y, "cell_area": 32.0})
    vertices = (made.xy[:, None] + CORNERS).reshape(-1, 2)
    names = np.repeat(made.barcodes, len(CORNERS))
    outlines = pd.DataFrame({"cell_id": names, "vertex_x": vertices[:, 0], "vertex_y": vertices[:, 1]})
    for name, content in (("cells", table[::-1]), ("cell_boundaries", outlines)):
        path = folder / f"{name}.{cells}"
        content.to_parquet(path, index=False) if cells == "parquet" else content.to_csv(path, index=False)
    experiment = {"major_version": 6, "run_name": "r", "region_name": "Region_1", "pixel_size": 0.2125}
    (folder / "experiment.xenium").write_text(json.dumps(experiment))
    return folder


def segmented(run: Path, made: Section, *, matrix: str = "h5") -> Path:
    """Write the cells that Space Ranger 4 segments into a run; returns their folder."""
    folder = run / "segmented_outputs"
    made.barcodes = [f"cellid_{number:09d}-1" for number in range(1, len(made.barcodes) + 1)]
    write_folder(folder, made, matrix=matrix)
    (folder / "spatial" / "tissue_positions.csv").unlink()
    for path in folder.glob("filtered_feature_bc_matrix*"):
        path.rename(folder / path.name.replace("_bc_", "_cell_"))
    features = []
    for number, center in reversed(list(enumerate(made.xy.tolist(), start=1))):
        ring = (center + CORNERS)[[0, 1, 2, 3, 0]].tolist()
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": {"cell_id": number}})
    collection = {"type": "FeatureCollection", "features": features}
    (folder / "cell_segmentations.geojson").write_text(json.dumps(collection))
    return folder


def gef(path: Path, made: Section, *, version: int = 4, n_dnbs: int = 3) -> Path:
    """Write square bins of Stereo-seq: each count is split over DNBs next to the position of its spot."""
    records, genes = [], []
    for number, of_gene in enumerate(made.counts.T):
        at = [
            (int(x) + dnb, int(y), 1)
            for (x, y), n in zip(made.xy, of_gene, strict=True)
            for dnb in (count % n_dnbs for count in range(int(n)))
        ]
        genes.append((*_gef_names(made, number, version), len(records), len(at)))
        records += at
    expression = np.array(records, dtype=[("x", "<i4"), ("y", "<i4"), ("count", "u1")])
    names = ["gene"] if version < 4 else ["geneID", "geneName"]
    kinds = [*((name, "S64") for name in names), ("offset", "<u4"), ("count", "<u4")]
    with h5py.File(path, "w") as file:
        file.attrs["version"], file.attrs["resolution"] = np.uint32(version), np.uint32(500)
        file["geneExp/bin1/expression"] = expression
        file["geneExp/bin1/gene"] = np.array(genes, dtype=kinds)
        file["geneExp/bin1/exon"] = np.zeros(len(records), "u1")
    return path


def _gef_names(made: Section, number: int, version: int) -> tuple[str, ...]:
    return (made.symbols[number],) if version < 4 else (made.gene_ids[number], made.symbols[number])


def cell_gef(path: Path, made: Section, *, version: int = 4) -> Path:
    """Write cell bins of Stereo-seq, with outlines of four vertices that are filled up to 32."""
    made.barcodes = [str(100 + number) for number in range(len(made.barcodes))]
    entries, cells = [], []
    for number, (row, (x, y)) in enumerate(zip(made.counts, made.xy, strict=True)):
        genes = np.flatnonzero(row)
        cells.append((100 + number, x, y, len(entries), len(genes), row.sum(), 9, 32, 0, 0))
        entries += [(gene, row[gene]) for gene in genes]
    names = ["geneName"] if version < 4 else ["geneID", "geneName"]
    fields = [
        "id",
        "x",
        "y",
        "offset",
        "geneCount",
        "expCount",
        "dnbCount",
        "area",
        "cellTypeID",
        "clusterID",
    ]
    kinds = ["<u4", "<i4", "<i4", "<u4", *["<u2"] * 6]
    borders = np.full((len(cells), 32, 2), np.iinfo(np.int16).max, np.int16)
    borders[:, : len(CORNERS)] = CORNERS
    with h5py.File(path, "w") as file:
        file.attrs["version"], file.attrs["resolution"] = np.uint32(version), np.uint32(500)
        file["cellBin/cell"] = np.array(cells, dtype=list(zip(fields, kinds, strict=True)))
        file["cellBin/cellExp"] = np.array(entries, dtype=[("geneID", "<u4"), ("count", "<u2")])
        genes = [_gef_names(made, number, version) for number in range(len(made.symbols))]
        file["cellBin/gene"] = np.array(genes, dtype=[(name, "S64") for name in names])
        file["cellBin/cellBorder"] = borders
    return path
