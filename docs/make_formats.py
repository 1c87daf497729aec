"""Write the table of docs/reference/formats.md: each format, the data it was tested with, and the outcome.

    python docs/make_formats.py [--data ../shared/data/formats]

DATA holds real files. Files of other formats are written from the published layout, in part by the helpers of
the tests (tests/io/layouts.py). A test writes the table again, and compares.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.io import layouts_of_others as others  # noqa: E402
from tests.io.layouts import slide, write_hd  # noqa: E402

from napari_spotmix import ReadError, read_reference, read_spatial  # noqa: E402
from napari_spotmix.io import is_signatures, read_image  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "formats.md"
REAL_DATA = ROOT.parent / "shared" / "data" / "formats"
START, END = "<!-- table: made by docs/make_formats.py -->", "<!-- end of table -->"
REAL, WRITTEN = "real file", "written from the published layout"


@dataclass(frozen=True)
class Case:
    """A path that is opened: its format, the path, and how it is read."""

    what: str
    path: str
    read: Callable[..., Any] = read_spatial
    options: dict[str, Any] = field(default_factory=dict)


HD, RCTD = "seurat_visium_and_hd/visium_hd/binned_outputs", "slideseq_spacexr"

REAL_CASES = (
    Case("Space Ranger 1", "visium_v1_mouse_muscle_Vis7B_5dpi"),
    Case("Space Ranger 1, raw counts", "se_v1_section1"),
    Case("Space Ranger 1", "scanpy_visium_v1/1.0.0"),
    Case("Space Ranger 1", "seurat_visium_and_hd/visium"),
    Case("Space Ranger 2", "sfe_v2_sample01"),
    Case("Space Ranger 3, CytAssist", "visium_v2_mouse_embryo_full"),
    Case("Matrix of probes", "scanpy_visium_v1/2.1.0"),
    Case("Visium HD, 8 µm", HD + "/square_008um"),
    Case("Visium HD, matrix and positions of two sections", HD + "/square_016um"),
    Case("Visium HD, 2 µm", "visiumhd_mini_002um"),
    Case("SpatialData", "spatialdata_zarr/muscle_visium.zarr"),
    Case("Original Spatial Transcriptomics", "st_v1_mob/MOB1.tsv.gz"),
    Case("Original Spatial Transcriptomics", "st_v1_mob/MOB2.tsv.gz"),
    Case("Two sections in one folder", "st_v1_mob"),
    Case("Slide-seq", RCTD + "/SpatialRNA/Vignette"),
    Case("Folder for RCTD (Visium)", RCTD + "/SpatialRNA/VisiumVignette"),
    Case("Folder for RCTD (MERFISH)", RCTD + "/SpatialRNA/MerfishVignette"),
    Case("Reference, Slide-seq vignette", RCTD + "/Reference/Vignette", read_reference),
    Case("Reference for RCTD (Visium)", RCTD + "/Reference/Visium_Ref", read_reference),
    Case("Reference for RCTD (MERFISH)", RCTD + "/Reference/Merfish_Ref", read_reference),
    Case("Xenium, matrix written by R", "../imaging_small/Xenium_small"),
    Case("CosMx, flat files", "../imaging_small/CosMx_small"),
    Case("MERSCOPE", "../imaging_small/MERSCOPE_small"),
    Case("STARmapPLUS, Single Cell Portal", "../imaging_small/STARmapPLUS_small"),
    Case("STARmapPLUS, as a reference", "../imaging_small/STARmapPLUS_small", read_reference),
    Case("Single cells, opened as spatial data", "cellranger/3.0.0"),
    Case(
        "Cell Ranger matrix without labels", "cellranger/3.0.0/filtered_feature_bc_matrix.h5", read_reference
    ),
)

WRITTEN_CASES = (
    Case("Space Ranger 4, with segmented cells", "v4", options={"bin_um": 16}),
    Case("Space Ranger 4, segmented cells", "cells4"),
    Case("Sample of GEO, flat and gzipped", "geo"),
    Case("Xenium", "xenium"),
    Case("CosMx, flat files", "cosmx"),
    Case("MERSCOPE", "merscope"),
    Case("Curio Seeker", "curio"),
    Case("Row names that R calls X", "r"),
    Case("Stereo-seq GEM", "section.gem.gz", options={"gem_bin": 10}),
    Case("Stereo-seq GEF, square bins", "section.gef", options={"gem_bin": 10}),
    Case("Stereo-seq GEF, cell bins", "section.cellbin.gef"),
    Case("One count per row", "spots.csv"),
    Case("Counts and coordinates, CSV", "plain"),
    Case("AnnData", "section.h5ad"),
    Case("AnnData, Zarr", "section.zarr"),
    Case("Reference in loom", "cells.loom", read_reference),
    Case("Signatures, genes x types", "signatures.csv", read_reference),
    Case("BigTIFF of many images (BTF)", "slide.btf", read_image),
    Case("SVS of an Aperio scanner", "slide.svs", read_image),
)


def main() -> None:
    """Write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REAL_DATA)
    data = parser.parse_args().data
    if not data.is_dir():
        parser.error(f"`--data` must be the folder of real files; {data} was not found.")
    with tempfile.TemporaryDirectory() as folder:
        put(PAGE, table(data, Path(folder)))


def table(data: Path, folder: Path) -> str:
    """Return the table as Markdown; files that are written go into `folder`."""
    write_layouts(folder)
    rows = [
        f"| {case.what} | `{case.path.removeprefix('../')}` | {kind} | {outcome(case, root)} |"
        for cases, root, kind in ((REAL_CASES, data, REAL), (WRITTEN_CASES, folder, WRITTEN))
        for case in cases
    ]
    return "\n".join(
        ["| Format | File or folder | Tested with | Outcome |", "| --- | --- | --- | --- |", *rows]
    )


def outcome(case: Case, root: Path) -> str:
    """Open a case and return the outcome as text."""
    try:
        found = case.read(root / case.path, **case.options)
    except ReadError as error:
        return "refused: " + "; ".join(error.problems).replace(str(root), "").replace("|", "\\|")
    if case.read is read_image:
        height, width = found.height_width
        return f"{width:,} x {height:,} pixels, {len(found.levels)} levels"
    if case.read is read_reference:
        rows = "types" if is_signatures(found) else "cells"
        return f"{found.n_obs:,} {rows}, {found.n_vars:,} genes"
    return f"{found.n_obs:,} spots, {found.n_vars:,} genes, {images_of(found)}"


def images_of(adata: anndata.AnnData) -> str:
    """Return the names of the images of the spots as text."""
    libraries = adata.uns.get("spatial", {}).values()
    names = [name for library in libraries for name in library.get("images", {})]
    return f"image {' and '.join(sorted(names))}" if names else "no image"


def write_layouts(folder: Path) -> None:
    """Write one section in each layout without a real file."""
    rng = np.random.default_rng(0)
    write_hd(folder / "v4", segmented=True)
    others.segmented(folder / "cells4", others.small())
    others.geo(folder / "geo", others.small(), "GSM1_A1")
    others.xenium(folder / "xenium", others.small())
    others.cosmx(folder / "cosmx", others.small())
    others.merscope(folder / "merscope", others.small())
    others.curio(folder / "curio", others.small())
    others.row_names_of_r(folder / "r", others.small())
    others.gef(folder / "section.gef", others.small())
    others.cell_gef(folder / "section.cellbin.gef", others.small())
    names = [f"spot{i}" for i in range(30)], [f"Gene{g}" for g in range(8)]
    spots = pd.DataFrame(rng.poisson(2.0, (30, 8)), *names)
    xy = pd.DataFrame({"x": np.arange(30) % 6 * 100.0, "y": np.arange(30) // 6 * 100.0}, spots.index)
    write_tables(folder, spots, xy)
    adata = anndata.AnnData(spots.astype(np.float32), obsm={"spatial": xy.to_numpy()})
    adata.write_h5ad(folder / "section.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the default version of Zarr will change
        adata.write_zarr(folder / "section.zarr")
    adata.obs["cell_type"] = np.repeat(["A", "B"], 15)
    del adata.obsm["spatial"]
    write_loom(adata, folder / "cells.loom")
    pixels = rng.integers(255, size=(600, 800, 3), dtype=np.uint8)
    for name in ("slide.btf", "slide.svs"):
        slide(folder / name, pixels)


def write_tables(folder: Path, spots: pd.DataFrame, xy: pd.DataFrame) -> None:
    """Write counts and coordinates as tables of several kinds."""
    (folder / "plain").mkdir()
    spots.to_csv(folder / "plain" / "counts.csv")
    xy.to_csv(folder / "plain" / "coordinates.csv")
    long = spots.join(xy).melt(["x", "y"], var_name="gene", value_name="count").query("count > 0")
    long[["gene", "x", "y", "count"]].to_csv(folder / "spots.csv", index=False)
    gem = long.set_axis(["x", "y", "geneID", "MIDCount"], axis=1).astype({"x": int, "y": int})
    head = "#FileFormat=GEMv0.1\n#SortedBy=None\n#BinSize=1\n#OffsetX=0\n#OffsetY=0\n"
    body = gem[["geneID", "x", "y", "MIDCount"]].to_csv(sep="\t", index=False)
    (folder / "section.gem.gz").write_bytes(gzip.compress((head + body).encode()))
    means = np.random.default_rng(2).gamma(1.0, 2.0, (30, 4)).round(4)
    genes = [f"Gene{g}" for g in range(30)]
    pd.DataFrame(means, genes, ["B cell", "T cell", "NK cell", "Macrophage"]).to_csv(
        folder / "signatures.csv"
    )


def write_loom(adata: anndata.AnnData, path: Path) -> None:
    """Write cells with loompy itself."""
    import loompy

    columns = {
        "CellID": adata.obs_names.to_numpy(),
        "cell_type": adata.obs["cell_type"].to_numpy().astype(str),
    }
    loompy.create(str(path), adata.X.T, {"Gene": adata.var_names.to_numpy()}, columns)


def put(page: Path, made: str) -> None:
    """Replace the text between the markers."""
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
