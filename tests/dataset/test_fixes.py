"""Fixes: each does what its name says, to a new AnnData, and a rerun applies it again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_spotmix import InputError
from napari_spotmix.dataset.fixes import FIXES, apply_fixes, parse_fixes
from napari_spotmix.io import close_files, read_spatial
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from napari_spotmix.workflow.codegen import as_command, as_python
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=4, n_cells_per_type=12, random_state=2, image=False)


def test_no_fix_changes_its_input(tissue: SimulatedTissue) -> None:
    types = list(tissue.reference.obs["cell_type"].cat.categories)
    values = {"layer": "counts", "genes": "ids", "merge": f"{types[0]}+{types[1]}"}
    values |= {"drop": types[0], "drop-below": "99", "genome": "GRCh38"}
    spots = tissue.spatial.copy()
    spots.var_names = "GRCh38_" + spots.var_names
    spots.raw = spots
    spots.layers["counts"] = spots.X * 2
    spots.var["ids"] = [f"ENSG{n:011d}.3" for n in range(spots.n_vars)]
    before, cells = spots.copy(), tissue.reference.copy()
    for name, kind in FIXES.items():
        role = "reference" if name in ("merge", "drop", "drop-below") else "spatial"
        text = f"{role}:{name}" + (f"={values[name]}" if kind.needs else "")
        apply_fixes(spots, cells, [text])
    assert (spots.X != before.X).nnz == 0
    assert np.array_equal(spots.obsm["spatial"], before.obsm["spatial"])
    assert list(spots.var_names) == list(before.var_names)
    assert list(spots.layers) == ["counts"]
    assert cells.obs["cell_type"].equals(tissue.reference.obs["cell_type"])


def test_counts_are_taken_from_a_layer_or_raw(tissue: SimulatedTissue) -> None:
    spots = tissue.spatial.copy()
    spots.raw = spots
    spots.layers["counts"] = spots.X * 2
    spots = spots[:, :50].copy()
    doubled, _ = apply_fixes(spots, spots, ["spatial:layer=counts"])
    assert doubled.X.sum() == 2 * spots.X.sum()
    whole, _ = apply_fixes(spots, spots, ["spatial:raw"])
    assert whole.shape == tissue.spatial.shape
    assert (whole.X != tissue.spatial.X).nnz == 0


def test_counts_on_disk_stay_there(tissue: SimulatedTissue, tmp_path: Path) -> None:
    spots = tissue.spatial.copy()
    spots.layers["counts"] = spots.X.copy()
    spots.X = spots.X.log1p()
    spots.write_h5ad(tmp_path / "spots.h5ad")
    opened = read_spatial(tmp_path / "spots.h5ad", backed=True)
    result, _ = apply_fixes(opened, opened, ["spatial:layer=counts", "spatial:swap-xy", "spatial:name-apart"])
    assert type(result.X).__name__ == "_CSRDataset"
    assert result.X.to_memory().sum() == tissue.spatial.X.sum()
    close_files(opened)


def test_genes_are_named_by_a_column_and_without_versions() -> None:
    var = pd.DataFrame({"ids": ["ENSG00000000001.4", "ENSG00000000002.1", None]}, index=["A", "B", "C"])
    spots = AnnData(np.ones((2, 3)), var=var)
    result, _ = apply_fixes(spots, spots, ["spatial:genes=ids", "spatial:no-versions"])
    assert list(result.var_names) == ["ENSG00000000001", "ENSG00000000002", "C"]


def test_duplicates_are_summed_and_repeats_numbered() -> None:
    spots = AnnData(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    spots.var_names, spots.obs_names = ["A", "B", "A"], ["s", "s"]
    result, _ = apply_fixes(spots, spots, ["spatial:sum-genes", "spatial:name-apart"])
    assert result.X.toarray().tolist() == [[2, 1], [8, 4]]
    assert list(result.var_names) == ["A", "B"]
    assert list(result.obs_names) == ["s", "s-1"]


def test_types_are_merged_and_small_ones_dropped() -> None:
    cells = AnnData(
        np.ones((6, 1)),
        obs=pd.DataFrame({"cell_type": ["CD4+ T", "CD8+ T", "B", "B", "b ", "Mast"]}, index=list("abcdef")),
    )
    merge = ["reference:merge=CD4+ T+CD8+ T", "reference:merge=B+b "]
    _, result = apply_fixes(cells, cells, [*merge, "reference:drop-below=2"])
    assert result.obs["cell_type"].value_counts().to_dict() == {"B": 3, "CD4+ T + CD8+ T": 2}
    assert result.obs["cell_type"].isna().sum() == 1


@pytest.mark.parametrize(
    "text", ["swap-xy", "spatial:swap", "spatial:layer", "cells:raw", "spatial:raw=x", ""]
)
def test_an_unknown_fix_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="unknown fix"):
        parse_fixes([text])


def test_all_unknown_fixes_are_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_fixes(["a", "spatial:raw", "b"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("fix", "words"),
    [
        ("spatial:layer=no", "layer 'no' not found"),
        ("spatial:raw", "the data have no `raw`"),
        ("spatial:genes=no", "`var` has no column 'no'"),
        ("reference:merge=A", "expected two cell types"),
        ("reference:drop-below=few", "expected a number of cells"),
    ],
)
def test_a_fix_that_does_not_fit_says_why(tissue: SimulatedTissue, fix: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        apply_fixes(tissue.spatial, tissue.reference, [fix])


def test_a_run_applies_fixes_and_its_recipe_lists_them(tissue: SimulatedTissue, tmp_path: Path) -> None:
    spots = tissue.spatial.copy()
    spots.layers["counts"] = spots.X.copy()
    spots.X = spots.X.log1p()
    spots.write_h5ad(tmp_path / "spots.h5ad")
    tissue.reference.write_h5ad(tmp_path / "cells.h5ad")
    before = (tmp_path / "spots.h5ad").read_bytes()
    files = tmp_path / "spots.h5ad", tmp_path / "cells.h5ad"
    with pytest.raises(InputError, match="looks log-normalized"):
        run(RunSpec(*files, tmp_path / "out", report=False))
    spec = RunSpec(*files, tmp_path / "out", report=False, fix=("spatial:layer=counts",))
    done = run(spec)
    assert (tmp_path / "spots.h5ad").read_bytes() == before
    assert tomllib.loads((tmp_path / "out/recipe.toml").read_text())["parameters"]["fix"] == list(spec.fix)
    note = "Fixes applied before the run: spatial:layer=counts. The files were not changed."
    assert note in done.result.notes
    assert "--fix spatial:layer=counts" in as_command(spec)
    assert "apply_fixes(spatial, reference, fixes=['spatial:layer=counts']" in as_python(spec)
    kept = anndata.read_h5ad(tmp_path / "out/spatial.h5ad")
    assert kept.X.sum() == tissue.spatial.X.sum()


def test_a_rerun_applies_the_same_fixes(tissue: SimulatedTissue, tmp_path: Path) -> None:
    from napari_spotmix.workflow.rerun import plan_rerun

    tissue.spatial.write_h5ad(tmp_path / "spots.h5ad")
    tissue.reference.write_h5ad(tmp_path / "cells.h5ad")
    types = list(tissue.reference.obs["cell_type"].cat.categories)
    fix = (f"reference:merge={types[0]}+{types[1]}", "spatial:swap-xy")
    run(RunSpec(tmp_path / "spots.h5ad", tmp_path / "cells.h5ad", tmp_path / "out", report=False, fix=fix))
    plan = plan_rerun(tmp_path / "out")
    plan.run()
    assert plan.is_identical()
    assert len(pd.read_csv(plan.output / "proportions.csv", index_col=0).columns) == len(types) - 1
