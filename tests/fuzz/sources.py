"""The files that mutants are made of: small, valid, one of each kind."""

from __future__ import annotations

import contextlib
import gzip
import json
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csc_matrix, csr_matrix

from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from tests.cli.commands import spotmix
from tests.io import layouts_of_others as others
from tests.io.layouts import Section, slide, write_folder, write_square
from tests.torture.sample import FAST

__all__ = ["write_sources"]

_SQUARE = [[[0, 0], [1000, 0], [1000, 2000], [0, 2000], [0, 0]]]


def write_sources(folder: Path) -> None:
    """Write all of them into a folder."""
    made = simulate(n_spots=60, n_genes=100, n_cell_types=3, n_cells_per_type=20, random_state=1)
    small = simulate(
        n_spots=60, n_genes=100, n_cell_types=3, n_cells_per_type=20, random_state=1, image=False
    )
    small.spatial.write_h5ad(folder / "plain.h5ad")
    _write_h5ad(folder / "spots.h5ad", made)
    made.reference.write_h5ad(folder / "cells.h5ad")
    section = _section(small)
    write_folder(folder / "outs", section)
    write_folder(folder / "outs_mtx", section, matrix="mtx.gz")
    write_folder(
        folder / "outs_plain", section, matrix="mtx", header=False, positions="tissue_positions_list.csv"
    )
    write_square(folder / "square_008um", _bins(section), 8, matrix="h5", raw=False, array=True)
    _write_tables(folder, small)
    _write_signatures(folder / "signatures.csv", small)
    _write_gem(folder / "spots.gem.gz", section)
    others.gef(folder / "spots.gef", section)
    others.cell_gef(folder / "cells.cellbin.gef", _section(small))
    pixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    slide(folder / "slide.tif", pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats of Zarr
        small.spatial.write_zarr(folder / "spots.zarr")
        with contextlib.suppress(ImportError):
            _write_store(folder / "store.zarr", small)
    _write_run(folder)


def _write_store(path: Path, made: SimulatedTissue) -> None:
    """Write a SpatialData store of round spots."""
    import spatialdata
    from spatialdata.models import ShapesModel, TableModel

    adata = anndata.AnnData(made.spatial.X, made.spatial.obs.copy(), made.spatial.var)
    number = np.arange(adata.n_obs)
    adata.obs["region"], adata.obs["id"] = pd.Categorical(["spots"] * adata.n_obs), number
    shapes = ShapesModel.parse(made.spatial.obsm["spatial"], geometry=0, radius=20.0, index=number)
    table = TableModel.parse(adata, region="spots", region_key="region", instance_key="id")
    spatialdata.SpatialData.init_from_elements({"spots": shapes, "table": table}).write(path)


def _write_h5ad(path: Path, made: SimulatedTissue) -> None:
    """Write a file with something in each slot."""
    adata = made.spatial.copy()
    square = csr_matrix(np.eye(adata.n_obs, dtype=np.float32))
    adata.layers["counts"], adata.layers["dense"] = csc_matrix(adata.X), adata.X.toarray()
    adata.raw = anndata.AnnData(csr_matrix(adata.X), var=adata.var)
    adata.obsm["near"], adata.obsm["frame"] = square, pd.DataFrame({"a": 1.0}, adata.obs_names)
    adata.obsp["graph"], adata.varp["pairs"] = square, csr_matrix(np.eye(adata.n_vars))
    adata.obs["depth"], adata.obs["flag"] = np.arange(adata.n_obs) / 2, True
    adata.obs["group"] = pd.Categorical(["a", "b"] * (adata.n_obs // 2))
    adata.uns["deep"] = {"graph": square, "names": ["a", "b"], "number": 3}
    adata.write_h5ad(path)


def _section(made: SimulatedTissue) -> Section:
    adata = made.spatial
    counts = np.asarray(adata.X.toarray(), int)
    xy = adata.obsm["spatial"]
    n_spots, n_genes = counts.shape
    return Section(
        counts=counts,
        barcodes=[f"{'ACGT' * 4}{at:04d}-1" for at in range(n_spots)],
        gene_ids=[f"ENSG{at:011d}" for at in range(n_genes)],
        symbols=list(adata.var_names),
        types=["Gene Expression"] * n_genes,
        in_tissue=np.repeat([1, 0], [n_spots - 3, 3]),
        rows_px=xy[:, 1],
        columns_px=xy[:, 0],
    )


def _bins(section: Section) -> Section:
    side = 7
    kept = slice(0, side**2)
    rows, columns = np.divmod(np.arange(side**2), side)
    names = [f"s_008um_{row:05d}_{column:05d}-1" for row, column in zip(rows, columns, strict=True)]
    return Section(
        section.counts[kept],
        names,
        section.gene_ids,
        section.symbols,
        section.types,
        section.in_tissue[kept] * 0 + 1,
        4.0 * rows,
        4.0 * columns,
    )


def _write_tables(folder: Path, made: SimulatedTissue) -> None:
    spots, cells = made.spatial, made.reference
    counts = pd.DataFrame(spots.X.toarray().astype(int), spots.obs_names, spots.var_names)
    for name in ("tables", "tables_parquet", "cells"):
        (folder / name).mkdir()
    counts.to_csv(folder / "tables" / "counts.csv", index_label="spot")
    xy = pd.DataFrame(spots.obsm["spatial"], spots.obs_names, ["x", "y"])
    xy.to_csv(folder / "tables" / "coordinates.csv", index_label="spot")
    counts.rename_axis("spot").reset_index().to_parquet(
        folder / "tables_parquet" / "counts.parquet", index=False
    )
    xy.rename_axis("spot").reset_index().to_parquet(
        folder / "tables_parquet" / "coordinates.parquet", index=False
    )
    table = pd.DataFrame(cells.X.toarray().astype(int), cells.obs_names, cells.var_names)
    table.to_csv(folder / "cells" / "counts.csv", index_label="cell")
    cells.obs[["cell_type"]].to_csv(folder / "cells" / "cell_types.csv", index_label="cell")


def _write_signatures(path: Path, made: SimulatedTissue) -> None:
    cells = made.reference
    counts = pd.DataFrame(cells.X.toarray(), cells.obs_names, cells.var_names)
    counts.groupby(cells.obs["cell_type"], observed=True).mean().T.to_csv(path, index_label="gene")


def _write_gem(path: Path, section: Section) -> None:
    rows, columns = np.nonzero(section.counts)
    lines = ["geneID\tx\ty\tMIDCount"]
    lines += [
        f"{section.symbols[gene]}\t{spot % 8 * 50}\t{spot // 8 * 50}\t{section.counts[spot, gene]}"
        for spot, gene in zip(rows, columns, strict=True)
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))


def _write_run(folder: Path) -> None:
    """Write a finished run with regions and niches, a samplesheet, and outlines."""
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": _SQUARE},
        "properties": {"name": "A"},
    }
    holes = {
        "type": "MultiPolygon",
        "coordinates": [[[[1000, 0], [2000, 0], [2000, 2000], [1000, 2000], [1000, 0]]]],
    }
    other = {
        "type": "Feature",
        "geometry": holes,
        "properties": {"classification": {"name": "B", "color": [255, 0, 0]}},
    }
    (folder / "regions.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature, other]})
    )
    (folder / "sheet.csv").write_text(
        "sample,spatial,reference,condition,lambda_c,n_outer_iterations,n_threads\n"
        f"one,{folder / 'plain.h5ad'},{folder / 'cells.h5ad'},a,0.1,0,1\n"
        f"two,{folder / 'plain.h5ad'},{folder / 'cells.h5ad'},b,0.1,0,1\n"
    )
    for words in (
        ("run", folder / "plain.h5ad", folder / "cells.h5ad", "-o", folder / "result", "--no-report", *FAST),
        ("niches", folder / "result", "--keep"),
        ("regions", folder / "result", "--regions", folder / "regions.geojson", "--keep"),
    ):
        done = spotmix(*words)
        if done.returncode:
            raise RuntimeError(f"{words[0]} fails: {done.stderr}")
