"""Write Space Ranger folders as 10x Genomics publishes their layouts, small and with known content."""

from __future__ import annotations

import gzip
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pandas as pd
import scipy.io
import tifffile
from scipy.sparse import coo_matrix, csc_matrix

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
HEADER = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres"
SCALE_FACTORS = {
    "spot_diameter_fullres": 89.4,
    "tissue_hires_scalef": 0.15,
    "fiducial_diameter_fullres": 144.4,
    "tissue_lowres_scalef": 0.045,
}


@dataclass
class Section:
    """What is written: `counts` (n_spots, n_features) of the spots under tissue come first."""

    counts: np.ndarray
    barcodes: list[str]
    gene_ids: list[str]
    symbols: list[str]
    types: list[str]
    in_tissue: np.ndarray
    rows_px: np.ndarray
    columns_px: np.ndarray

    @property
    def xy(self) -> np.ndarray:
        return np.column_stack([self.columns_px, self.rows_px])


def section(n_spots: int = 12, n_genes: int = 7, n_outside: int = 3, n_antibodies: int = 0) -> Section:
    """Make a section whose last `n_outside` spots are outside of the tissue; two genes share a symbol."""
    generator = np.random.default_rng(5)
    n_features = n_genes + n_antibodies
    symbols = [f"Gene{number}" for number in range(n_genes - 1)] + ["Gene0"]
    return Section(
        counts=generator.poisson(1.5, (n_spots, n_features)),
        barcodes=["".join(generator.choice(list("ACGT"), 16)) + "-1" for _ in range(n_spots)],
        gene_ids=[f"ENSG{number:011d}" for number in range(n_features)],
        symbols=symbols + [f"CD{number}" for number in range(n_antibodies)],
        types=["Gene Expression"] * n_genes + ["Antibody Capture"] * n_antibodies,
        in_tissue=np.repeat([1, 0], [n_spots - n_outside, n_outside]),
        rows_px=10.0 + 5 * np.arange(n_spots),
        columns_px=40.0 + 7 * np.arange(n_spots),
    )


def write_folder(
    root: Path,
    section: Section,
    *,
    matrix: str = "h5",
    raw: bool = False,
    header: bool = True,
    positions: str = "tissue_positions.csv",
    images: tuple[str, ...] = ("hires", "lowres"),
    prefix: str = "",
) -> Path:
    """Write a run into `root`; `matrix` is one of h5, h5-v2, mtx, mtx.gz, mtx-v2."""
    (root / "spatial").mkdir(parents=True)
    only = np.ones(len(section.barcodes), bool) if raw else section.in_tissue == 1
    name = prefix + ("raw" if raw else "filtered") + "_feature_bc_matrix"
    writer = {"h5": write_h5, "h5-v2": write_h5_v2}.get(matrix)
    if writer:
        writer(root / f"{name}.h5", section, only)
    else:
        write_mtx(root / name, section, only, zipped=matrix.endswith("gz"), legacy=matrix.endswith("v2"))
    write_positions(root / "spatial" / (prefix + positions), section, header=header)
    (root / "spatial" / f"{prefix}scalefactors_json.json").write_text(json.dumps(SCALE_FACTORS))
    for resolution in images:
        write_png(root / "spatial" / f"{prefix}tissue_{resolution}_image.png", resolution)
    return root


def image(resolution: str) -> np.ndarray:
    side = {"hires": 40, "lowres": 12}[resolution]
    return np.random.default_rng(side).integers(0, 255, (side, side + 4, 3), dtype=np.uint8)


def write_png(path: Path, resolution: str) -> None:
    path.write_bytes(imagecodecs.png_encode(image(resolution)))


def write_positions(path: Path, section: Section, *, header: bool) -> None:
    lines = [HEADER] if header else []
    # As in real files, in another order than the matrix.
    for index in reversed(range(len(section.barcodes))):
        x, y = section.xy[index]
        where = f"{index // 4},{index % 4},{y:g},{x:g}"
        lines.append(f"{section.barcodes[index]},{section.in_tissue[index]},{where}")
    path.write_text("\n".join(lines) + "\n")


def write_h5(path: Path, section: Section, only: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["library_ids"] = np.array([b"section_1"])
        file.attrs["software_version"] = "spaceranger-2.0.1"
        file.attrs["chemistry_description"] = np.array([b"Visium V1"])
        group = file.create_group("matrix")
        _write_csc(group, section, only)
        features = group.create_group("features")
        features["id"] = _bytes(section.gene_ids)
        features["name"] = _bytes(section.symbols)
        features["feature_type"] = _bytes(section.types)
        features["genome"] = _bytes(["GRCh38"] * len(section.symbols))


def write_h5_v2(path: Path, section: Section, only: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("mm10")
        _write_csc(group, section, only)
        group["genes"] = _bytes(section.gene_ids)
        group["gene_names"] = _bytes(section.symbols)


def _write_csc(group: h5py.Group, section: Section, only: np.ndarray) -> None:
    counts = csc_matrix(section.counts[only].T)
    group["data"] = counts.data.astype(np.int32)
    group["indices"] = counts.indices.astype(np.int64)
    group["indptr"] = counts.indptr.astype(np.int64)
    group["shape"] = np.array(counts.shape, dtype=np.int32)
    group["barcodes"] = _bytes([name for name, keep in zip(section.barcodes, only, strict=True) if keep])


def _bytes(names: list[str]) -> np.ndarray:
    return np.array([name.encode() for name in names])


def write_mtx(folder: Path, section: Section, only: np.ndarray, *, zipped: bool, legacy: bool) -> None:
    folder.mkdir()
    barcodes = [name for name, keep in zip(section.barcodes, only, strict=True) if keep]
    columns = [section.gene_ids, section.symbols] + ([] if legacy else [section.types])
    lists = {
        "barcodes.tsv": barcodes,
        ("genes.tsv" if legacy else "features.tsv"): ["\t".join(row) for row in zip(*columns, strict=True)],
    }
    for name, lines in lists.items():
        _write(folder / name, "\n".join(lines).encode() + b"\n", zipped)
    plain = folder / "matrix.mtx"
    scipy.io.mmwrite(plain, coo_matrix(section.counts[only].T), field="integer", symmetry="general")
    if zipped:
        _write(plain, plain.read_bytes(), zipped)
        plain.unlink()


def _write(path: Path, content: bytes, zipped: bool) -> None:
    if zipped:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


BIN_PX = 4.0
#: Of 8 um bins; the lowres image of a run has a factor of its own.
HD_FACTORS = {
    "spot_diameter_fullres": BIN_PX,
    "bin_size_um": 8.0,
    "microns_per_pixel": 2.0,
    "regist_target_img_scalef": 0.25,
    "tissue_lowres_scalef": 0.125,
    "fiducial_diameter_fullres": 600.0,
    "tissue_hires_scalef": 0.5,
}


def bins(um: int, side_um: int = 144, n_genes: int = 5, n_outside: int = 3) -> Section:
    """Make the bins of one size that tile a square, askew by a hundredth; the last lie off the tissue."""
    side = side_um // um
    rows, columns = (index.ravel() for index in np.divmod(np.arange(side**2), side))
    made = section(side**2, n_genes, n_outside)
    made.counts = np.random.default_rng(um).poisson(0.4 * um / 8, made.counts.shape)
    made.barcodes = [
        f"s_{um:03d}um_{row:05d}_{column:05d}-1" for row, column in zip(rows, columns, strict=True)
    ]
    pitch = BIN_PX * um / 8
    made.rows_px = 2 + pitch * (rows + 0.01 * columns)
    made.columns_px = 4 + pitch * (columns - 0.01 * rows)
    return made


def write_hd(
    outs: Path,
    sizes: tuple[int, ...] = (2, 8, 16),
    *,
    matrix: str = "h5",
    raw: bool = False,
    array: bool = True,
    segmented: bool = False,
    n_genes: int = 5,
) -> Path:
    """Write a Visium HD run of Space Ranger 3, or of 4 with its cells; returns `outs`."""
    for um in sizes:
        folder = outs / "binned_outputs" / f"square_{um:03d}um"
        write_square(folder, bins(um, n_genes=n_genes), um, matrix=matrix, raw=raw, array=array)
    (outs / "spatial").mkdir(parents=True)
    (outs / "spatial" / "cytassist_image.tiff").write_bytes(b"II*\0")
    (outs / "feature_slice.h5").touch()
    if segmented:
        (outs / "segmented_outputs" / "spatial").mkdir(parents=True)
        (outs / "segmented_outputs" / "filtered_feature_cell_matrix.h5").touch()
        (outs / "segmented_outputs" / "cell_segmentations.geojson").touch()
        (outs / "barcode_mappings.parquet").touch()
    return outs


def write_square(folder: Path, made: Section, um: int, *, matrix: str, raw: bool, array: bool) -> None:
    write_folder(folder, made, matrix=matrix, raw=raw)
    scale = um / 8
    factors = {**HD_FACTORS, "bin_size_um": float(um), "spot_diameter_fullres": BIN_PX * scale}
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    (folder / "spatial" / "tissue_positions.csv").unlink()
    write_parquet(folder / "spatial" / "tissue_positions.parquet", made, array=array)


def write_parquet(path: Path, section: Section, *, array: bool = True, **other: Any) -> None:
    """Write positions as Space Ranger 3 does, in another order than the matrix; `other` replaces columns."""
    n_columns = round(len(section.barcodes) ** 0.5)
    rows, columns = np.divmod(np.arange(len(section.barcodes)), n_columns)
    table = {
        "barcode": section.barcodes,
        "in_tissue": section.in_tissue.astype(np.int32),
        "array_row": rows.astype(np.int32),
        "array_col": columns.astype(np.int32),
        "pxl_row_in_fullres": section.rows_px,
        "pxl_col_in_fullres": section.columns_px,
    } | other
    kept = {name: values for name, values in table.items() if array or not name.startswith("array")}
    pd.DataFrame(kept).iloc[::-1].to_parquet(path, index=False)


def slide(path: Path, pixels: np.ndarray, *, levels: int = 2) -> None:
    """Write a slide as Aperio's scanners do: a tiled pyramid among a thumbnail, a label and a macro image."""
    small = pixels[::4, ::4].copy()
    with tifffile.TiffWriter(path, bigtiff=path.suffix == ".btf") as tiff:
        options = {"photometric": "rgb", "metadata": None}
        about = f"Aperio Image Library v1\r\n{pixels.shape[1]}x{pixels.shape[0]} |AppMag = 20|MPP = 0.5"
        tiff.write(pixels, tile=(64, 64), description=about, **options)
        tiff.write(small, description="Aperio Image Library v1\r\nthumbnail", **options)
        for level in range(1, levels):
            reduced = pixels[:: 2**level, :: 2**level].copy()
            tiff.write(reduced, tile=(64, 64), description=about, **options)
        for name, kind in (("label", 1), ("macro", 9)):
            about = f"Aperio Image Library v1\r\n{name} {small.shape[1]}x{small.shape[0]}"
            tiff.write(small, description=about, subfiletype=kind, **options)


def write_store(path: Path, regions: dict[str, int]) -> Path:
    """Write a SpatialData store with a table ``table_NAME`` for each region, of so many round spots."""
    import anndata
    import spatialdata
    from spatialdata.models import ShapesModel, TableModel

    elements: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions to come
        for region, n_spots in regions.items():
            number = np.arange(n_spots)
            xy = 50.0 * np.column_stack([number % 4, number // 4])
            obs = pd.DataFrame(
                {"region": pd.Categorical([region] * n_spots), "id": number}, number.astype(str)
            )
            counts = csc_matrix(np.random.default_rng(n_spots).poisson(2.0, (n_spots, 6)), dtype=np.float32)
            table = anndata.AnnData(counts.tocsr(), obs=obs)
            elements[region] = ShapesModel.parse(xy, geometry=0, radius=20.0, index=number)
            elements[f"table_{region}"] = TableModel.parse(
                table, region=region, region_key="region", instance_key="id"
            )
        spatialdata.SpatialData.init_from_elements(elements).write(path)
    return path
