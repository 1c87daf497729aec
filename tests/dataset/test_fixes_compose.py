"""A set of fixes makes the same data in any order, and what is offered leads to data that can be used."""

from __future__ import annotations

from itertools import permutations

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_spotmix import InputError
from napari_spotmix.dataset.diagnostics import diagnose
from napari_spotmix.dataset.finding import PROBLEM
from napari_spotmix.dataset.fixes import Fix, apply_fixes
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from napari_spotmix.workflow.deconvolve import deconvolve


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=4, n_cells_per_type=12, random_state=2, image=False)


def cellxgene(cells: AnnData, *, with_symbols_in_raw: bool = True) -> AnnData:
    """Return cells as CELLxGENE publishes them: identifiers, counts in raw, symbols in a column."""
    made = cells.copy()
    made.var = pd.DataFrame(
        {"feature_name": cells.var_names}, index=[f"ENSG{n:011d}" for n in range(cells.n_vars)]
    )
    raw = made.copy()
    if not with_symbols_in_raw:
        raw.var = raw.var[[]]
    made.raw = raw
    made.X = made.X.log1p()
    return made


def assert_same(one: AnnData, other: AnnData) -> None:
    assert (one.X != other.X).nnz == 0
    pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(one.var, other.var)
    for key in one.obsm:
        np.testing.assert_array_equal(one.obsm[key], other.obsm[key])


@pytest.mark.parametrize("with_symbols_in_raw", [True, False])
def test_fixes_in_any_order_make_the_same_data(tissue: SimulatedTissue, with_symbols_in_raw: bool) -> None:
    cells = cellxgene(tissue.reference, with_symbols_in_raw=with_symbols_in_raw)
    a, b, c, d = sorted(cells.obs["cell_type"].unique())
    fixes = [
        "reference:raw",
        "reference:genes=feature_name",
        f"reference:merge={a}+{b}",
        f"reference:drop={d}",
    ]
    fixes += [f"reference:merge={b}+{c}", "spatial:swap-xy", "spatial:flip-x"]
    first = apply_fixes(tissue.spatial, cells, fixes)
    assert sorted(first[1].obs["cell_type"].cat.categories) == [f"{a} + {b} + {c}"]
    assert list(first[1].var_names) == list(tissue.reference.var_names)
    for number, order in enumerate(permutations(fixes)):
        if number % 97 == 0:
            for one, other in zip(apply_fixes(tissue.spatial, cells, order), first, strict=True):
                assert_same(one, other)


@pytest.mark.parametrize("with_symbols_in_raw", [True, False])
@pytest.mark.parametrize("layer", [None, "raw"])
def test_what_is_offered_leads_to_a_run(
    tissue: SimulatedTissue, with_symbols_in_raw: bool, layer: str | None
) -> None:
    cells = cellxgene(tissue.reference, with_symbols_in_raw=with_symbols_in_raw)
    fixes: list[Fix] = []
    for _ in range(4):
        both = apply_fixes(tissue.spatial, cells, fixes)
        offered = [fix for one in diagnose(*both, layer=layer) if one.level == PROBLEM for fix in one.fixes]
        if not offered:
            break
        fixes += offered[:1]  # one by one, as they are clicked
    result = deconvolve(*apply_fixes(tissue.spatial, cells, fixes), layer=layer)
    expected = deconvolve(tissue.spatial, tissue.reference)
    pd.testing.assert_frame_equal(result.proportions, expected.proportions)


def test_a_run_that_is_refused_names_the_fixes(tissue: SimulatedTissue) -> None:
    with pytest.raises(InputError, match=r"To fix it: `fix` 'reference:genes=feature_name'"):
        deconvolve(tissue.spatial, cellxgene(tissue.reference))


def test_genes_of_one_genome_are_kept_without_its_prefix(tissue: SimulatedTissue) -> None:
    human, mouse = tissue.spatial.copy(), tissue.spatial[:, :20].copy()
    human.var["ids"] = [f"GRCh38_ENSG{n:011d}" for n in range(human.n_vars)]
    human.var_names = "GRCh38_" + human.var_names
    mouse.var_names = "mm10___" + mouse.var_names.str.lower()
    mouse.var["ids"] = [f"mm10___ENSMUSG{n:011d}" for n in range(mouse.n_vars)]
    mixed = anndata.concat([human, mouse], axis=1, merge="same")
    mixed.obsm = human.obsm.copy()
    mixed.var["ids"] = [*human.var["ids"], *mouse.var["ids"]]
    worst = diagnose(mixed, tissue.reference)[0]
    assert "GRCh38: 80 genes, mm10: 20 genes" in worst.message
    assert [str(fix) for fix in worst.fixes] == ["spatial:genome=GRCh38"]
    fixed, _ = apply_fixes(mixed, tissue.reference, worst.fixes)
    assert list(fixed.var_names) == list(tissue.spatial.var_names)
    assert fixed.var["ids"].iloc[3] == "ENSG00000000003"
    assert (fixed.X != tissue.spatial.X).nnz == 0
    with pytest.raises(InputError, match="Choose one of: 'GRCh38', 'mm10'"):
        apply_fixes(mixed, tissue.reference, ["spatial:genome=hg19"])


@pytest.mark.parametrize("changed", ["spatial", "reference"])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_names_that_r_changed_are_recognized(tissue: SimulatedTissue, changed: str, share: float) -> None:
    both = {"spatial": tissue.spatial.copy(), "reference": tissue.reference.copy()}
    n_odd = round(share * 80)
    names = [f"{n}00Rik-{n}" if n < n_odd else f"Gene{n}" for n in range(80)]
    in_r = [f"X{n}00Rik.{n}" if n < n_odd else f"Gene{n}" for n in range(80)]
    for role, adata in both.items():
        adata.var_names = in_r if role == changed else names
    (found,) = [one for one in diagnose(**both) if "R " in one.message and one.fixes]
    other = {"spatial": "reference", "reference": "spatial"}[changed]
    assert [str(fix) for fix in found.fixes] == [f"{other}:r-names"]
    fixed = apply_fixes(**both, fixes=found.fixes)
    assert all(list(adata.var_names) == in_r for adata in fixed)
