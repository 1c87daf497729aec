"""The commands ``spotmix regions`` and ``spotmix niches``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from napari_spotmix import compare_regions, find_niches, read_regions, simulate
from napari_spotmix.analysis.niches import stored_niches
from napari_spotmix.base.colors import NICHE_PALETTE
from napari_spotmix.cli import main
from napari_spotmix.io import check_complete
from napari_spotmix.result import Result, read_result


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    tissue = simulate(n_spots=120, n_genes=150, n_cell_types=4, n_cells_per_type=30, random_state=1)
    labels = tissue.reference.obs["cell_type"].astype(str)
    tissue.reference.obs["cell_type"] = labels.replace(labels.iloc[0], "odd/name").astype("category")
    tissue.spatial.write_h5ad(folder / "spots.h5ad")
    tissue.reference.write_h5ad(folder / "cells.h5ad")
    inputs = [str(folder / name) for name in ("spots.h5ad", "cells.h5ad")]
    main(["run", *inputs, "--output", str(folder / "results"), "--lambda-c", "0.1", "--no-report"])
    return folder / "results"


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "results")
    write_regions(tmp_path / "regions.geojson", read_result(finished))
    return tmp_path / "results"


@pytest.fixture
def regions(results: Path) -> Path:
    return results.with_name("regions.geojson")


def write_regions(path: Path, result: Result) -> None:
    """Write the left and the right of a section, and all of it, as QuPath writes its annotations."""
    low, high = result.coordinates.min(axis=0) - 1, result.coordinates.max(axis=0) + 1
    middle = float(np.median(result.coordinates[:, 0])) + 0.5
    spans = {"Tumor/core": (low[0], middle), "Stroma": (middle, high[0]), "All": (low[0], high[0])}
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [[left, low[1]], [right, low[1]], [right, high[1]], [left, high[1]], [left, low[1]]]
                ],
            },
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, (left, right) in spans.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


def refused(capsys: Any, *arguments: object) -> str:
    """Run a command that must be refused, and return what it says."""
    with pytest.raises(SystemExit) as raised:
        main([str(argument) for argument in arguments])
    assert raised.value.code == 2
    return str(capsys.readouterr().err)


def test_names_of_any_length_leave_a_table_that_can_be_read(
    results: Path, regions: Path, capsys: Any
) -> None:
    regions.write_text(regions.read_text().replace("Tumor/core", "Tumor" + 5000 * "x"))
    main(["regions", str(results), "--regions", str(regions)])
    said = capsys.readouterr().out
    assert " against " in said
    assert max(map(len, said.splitlines())) < 1000


def test_a_comparison_is_printed_and_written_as_python_has_it(
    results: Path, regions: Path, capsys: Any, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    names = ["--first", "Tumor/core", "--second", "Stroma"]
    main(["regions", str(results), "--regions", str(regions), *names, "--output", str(table)])
    expected = compare_regions(read_result(results), "Tumor/core", "Stroma", regions=read_regions(regions))
    found = pd.read_csv(table, index_col=0)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    said = capsys.readouterr().out
    assert f"Tumor/core ({expected['n_spots_first'].iloc[0]} spots) against Stroma" in said
    clearest = next(line for line in said.splitlines() if line.startswith(f"  {expected.index[0]}"))
    assert f"{100 * expected['difference'].iloc[0]:+.1f}" in clearest
    assert str(table) in said
    assert read_result(results).region_of_spot is None, "nothing is kept if that is not asked for"


def test_what_is_kept_is_read_again_and_belongs_to_the_same_run(
    results: Path, regions: Path, capsys: Any
) -> None:
    before = anndata.read_h5ad(results / "spatial.h5ad")
    names = ["--first", "Tumor/core", "--second", "Stroma"]
    main(["regions", str(results), "--regions", str(regions), *names, "--keep"])
    main(["niches", str(results), "--n-niches", "3", "--keep"])
    check_complete(results)
    with h5py.File(results / "spatial.h5ad") as file:
        assert file.attrs["spotmix_proportions_sha256"]
    kept = read_result(results)
    assert [region.name for region in kept.regions] == ["Tumor/core", "Stroma", "All"]
    assert kept.region_of_spot is not None
    assert set(kept.region_of_spot) == {"Tumor/core | All", "Stroma | All"}
    expected = compare_regions(kept, "Tumor/core", "Stroma")
    pd.testing.assert_frame_equal(kept.region_comparison, expected, check_dtype=False, check_index_type=False)
    found, niches = stored_niches(kept), find_niches(kept, 3)
    assert found is not None
    np.testing.assert_array_equal(found.codes, niches.codes)
    after = anndata.read_h5ad(results / "spatial.h5ad")
    assert after.obs["spotmix_niche"].cat.categories.tolist() == ["1", "2", "3"]
    assert after.uns["spotmix_niche_colors"].tolist() == list(NICHE_PALETTE[:3])
    table = after.uns["spotmix_niche_composition"].set_index("cell_type")
    np.testing.assert_allclose(table.T, niches.composition)
    assert "odd/name" in table.index
    assert list(before.obs) == [name for name in after.obs if name in before.obs]
    pd.testing.assert_frame_equal(after.obs[list(before.obs)], before.obs)
    # A second time, without the file: the regions are those of the result.
    capsys.readouterr()
    main(["regions", str(results)])
    assert capsys.readouterr().out.count(" against Rest of the tissue") == 2, "of all there is no rest"


def test_what_is_kept_stays_with_a_result_that_is_saved_again(
    results: Path, regions: Path, tmp_path: Path
) -> None:
    main(["regions", str(results), "--regions", str(regions), "--first", "Stroma", "--keep"])
    main(["niches", str(results), "--keep"])
    kept = read_result(results)
    kept.to_anndata().write_h5ad(tmp_path / "again.h5ad")
    again = read_result(tmp_path / "again.h5ad")
    pd.testing.assert_series_equal(again.niches, kept.niches)
    pd.testing.assert_series_equal(again.region_of_spot, kept.region_of_spot)
    pd.testing.assert_frame_equal(again.region_comparison, kept.region_comparison)


def test_an_h5ad_file_by_itself_is_added_to(results: Path, tmp_path: Path) -> None:
    alone = shutil.copy(results / "spatial.h5ad", tmp_path / "alone.h5ad")
    main(["niches", str(alone), "--seed", "7", "--keep"])
    result = read_result(alone)
    assert result.niches is not None
    assert result.niches.equals(find_niches(result, random_state=7).labels.rename("spotmix_niche"))


def test_the_niche_of_each_spot_is_written(results: Path, tmp_path: Path, capsys: Any) -> None:
    main(["niches", str(results), "--n-niches", "2", "--output", str(tmp_path / "niches.csv")])
    found = find_niches(read_result(results), 2)
    table = pd.read_csv(tmp_path / "niches.csv", index_col="spot", dtype=str)
    assert table["niche"].equals(found.labels.astype(object).rename_axis("spot"))
    said = capsys.readouterr().out
    assert "2 niches of 120 spots" in said
    assert said.split("spots ")[-1].split()[:2] == [str(size) for size in found.n_spots]


def test_all_that_is_wrong_with_regions_is_reported_at_once(
    results: Path, regions: Path, tmp_path: Path, capsys: Any
) -> None:
    said = refused(
        *(capsys, "regions", tmp_path / "missing", "--regions", tmp_path / "no.geojson"),
        *("--second", "Stroma", "--output", results / "proportions.csv", "--keep"),
    )
    assert "4 problems" in said
    assert "missing: not found" in said
    assert "--second needs --first" in said
    assert "proportions.csv is not a table of this command and is not overwritten" in said
    assert "no.geojson: cannot be read" in said
    said = refused(capsys, "regions", results, "--regions", regions, "--first", "tumor", "--second", "All?")
    assert "--first: 'tumor' is unknown. The regions are 'Tumor/core', 'Stroma', 'All'." in said
    assert "--second: 'All?' is unknown" in said
    said = refused(capsys, "regions", results, "--regions", regions, "--first", "Stroma", "--second", "All")
    assert "'Stroma' and 'All' overlap" in said
    said = refused(capsys, "regions", results, "--regions", regions, "--first", "All")
    assert "All covers all spots with proportions" in said
    assert "The result holds no regions" in refused(capsys, "regions", results)


def test_all_that_is_wrong_with_niches_is_reported_at_once(results: Path, capsys: Any) -> None:
    said = refused(capsys, "niches", results, "--n-niches", 1, "--seed", -1)
    assert "--n-niches must be a whole number from 2 to 20, found 1." in said
    assert "--seed must be at least 0, found -1." in said


def test_names_from_files_cannot_steer_the_terminal(results: Path, regions: Path, capsys: Any) -> None:
    text = regions.read_text(encoding="utf-8").replace("Tumor/core", "\\u001b[31m[bold]red")
    regions.write_text(text, encoding="utf-8")
    main(["regions", str(results), "--regions", str(regions), "--first", "\x1b[31m[bold]red"])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[bold]red" in said


def test_each_stage_is_named_once_with_its_region(results: Path, regions: Path, capsys: Any) -> None:
    main(["regions", str(results), "--regions", str(regions)])
    stages = [line for line in capsys.readouterr().err.splitlines() if line.endswith(" ...")]
    assert "Drawing surrogates: Stroma ..." in stages
    assert len(stages) == len(set(stages))
