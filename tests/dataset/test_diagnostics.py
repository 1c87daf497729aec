"""What is found in data before a run."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import anndata
import numpy as np
import pytest

from napari_spotmix import Cancelled, InputError, deconvolve
from napari_spotmix.dataset.cost import Size, needed
from napari_spotmix.dataset.diagnostics import Finding, diagnose, diagnose_files
from napari_spotmix.dataset.fixes import apply_fixes
from napari_spotmix.io import close_files, read_spatial
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from tests.cli.commands import fresh_process, spotmix_process


@pytest.fixture(scope="module")
def simulated() -> SimulatedTissue:
    return simulate(n_spots=80, n_genes=150, n_cell_types=4, n_cells_per_type=30, random_state=4)


@pytest.fixture
def tissue(simulated: SimulatedTissue) -> SimulatedTissue:
    """A tissue that the test may change."""
    return deepcopy(simulated)


def reported(found: list[Finding], level: str, words: str) -> Finding:
    some = [one for one in found if one.level == level and words in one.message]
    assert some, found
    return some[0]


def findings(tissue: SimulatedTissue) -> list[Finding]:
    return diagnose(tissue.spatial, tissue.reference)


def rename(tissue: SimulatedTissue, names: dict[str, str]) -> None:
    column = tissue.reference.obs["cell_type"].astype(str)
    tissue.reference.obs["cell_type"] = column.replace(names).astype("category")


def test_good_data_get_notes_alone(tissue: SimulatedTissue) -> None:
    found = findings(tissue)
    assert {one.level for one in found} == {"note"}
    reported(found, "note", "150 genes are shared, with 100% of the counts of the spots")
    reported(found, "note", "A run with default settings takes about")


def test_nothing_is_changed(tissue: SimulatedTissue) -> None:
    before = tissue.spatial.copy(), tissue.reference.copy()
    findings(tissue)
    assert (tissue.spatial.X != before[0].X).nnz == 0
    assert tissue.reference.obs.equals(before[1].obs)


@pytest.mark.parametrize("name", ["nan", "N/A", "Unknown", "low_quality", "?"])
def test_a_label_that_names_no_type_is_reported_and_dropped(tissue: SimulatedTissue, name: str) -> None:
    first = tissue.reference.obs["cell_type"].cat.categories[0]
    n_cells = int((tissue.reference.obs["cell_type"] == first).sum())
    rename(tissue, {first: name})
    found = reported(findings(tissue), "warning", f"{name!r} ({n_cells} cells) seems to mean")
    assert [str(fix) for fix in found.fixes] == [f"reference:drop={name}"]
    spatial, reference = apply_fixes(tissue.spatial, tissue.reference, found.fixes)
    again = diagnose(spatial, reference)
    assert not any("seems to mean" in one.message for one in again)
    reported(again, "note", f"{n_cells} of {reference.n_obs} reference cells have no label")
    assert name not in deconvolve(spatial, reference).cell_types


def test_names_that_hold_such_words_are_types(tissue: SimulatedTissue) -> None:
    types = list(tissue.reference.obs["cell_type"].cat.categories)
    rename(tissue, dict(zip(types, ["NA-high neuron", "unknown lymphoid", "Nanog+", "B"], strict=True)))
    assert not any("seems to mean" in one.message for one in findings(tissue))


def test_spots_with_the_same_coordinates_are_reported(tissue: SimulatedTissue) -> None:
    twice = anndata.concat([tissue.spatial, tissue.spatial], keys=["a", "b"], label="slide", index_unique="-")
    found = reported(
        diagnose(twice, tissue.reference),
        "warning",
        "160 of 160 spots share their coordinates",
    )
    assert "`library_key`" in found.message
    apart = diagnose(twice, tissue.reference, library_key="slide")
    assert not any("share their coordinates" in one.message for one in apart)
    tissue.spatial.obsm["spatial"][:] = 7
    reported(
        findings(tissue),
        "warning",
        "80 of 80 spots share their coordinates",
    )
    assert np.isfinite(deconvolve(tissue.spatial, tissue.reference).proportions.to_numpy()).all()


def test_a_few_spots_with_the_same_coordinates_do_not_matter(tissue: SimulatedTissue) -> None:
    tissue.spatial.obsm["spatial"][:3] = tissue.spatial.obsm["spatial"][0]
    tissue.spatial.obsm["spatial"][-9:] = np.nan
    assert not any("share their coordinates" in one.message for one in findings(tissue))


def test_spots_of_no_section_are_reported(tissue: SimulatedTissue) -> None:
    tissue.spatial.obs["slide"] = ["a"] * 70 + [None] * 10
    found = diagnose(tissue.spatial, tissue.reference, library_key="slide")
    reported(found, "warning", "10 of 80 spots have no value in 'slide'")
    tissue.spatial.obs["slide"] = None
    found = diagnose(tissue.spatial, tissue.reference, library_key="slide")
    reported(found, "problem", "`library_key`: the column 'slide' of the spatial data is empty.")
    assert not any("no value" in one.message for one in found if one.level == "warning")
    with pytest.raises(InputError, match="is empty"):
        deconvolve(tissue.spatial, tissue.reference, library_key="slide")


def test_one_type_under_two_labels_is_found_and_merged(tissue: SimulatedTissue) -> None:
    """Cells of one type, half of them under another label, cannot be distinguished in the deepest spots."""
    labels = tissue.reference.obs["cell_type"].astype(str).to_numpy()
    halves = np.flatnonzero(labels == labels[0])[::2]
    labels[halves] = "Other half"
    first = tissue.reference.obs["cell_type"].iloc[0]
    tissue.reference.obs["cell_type"] = labels
    found = findings(tissue)
    similar = [one for one in found if "nearly the same signature" in one.message]
    assert len(similar) == 1
    assert "'Other half'" in similar[0].message
    assert repr(first) in similar[0].message
    after = diagnose(*apply_fixes(tissue.spatial, tissue.reference, similar[0].fixes))
    assert not [one for one in after if "nearly the same signature" in one.message]


def test_names_that_differ_only_in_spelling_are_reported_with_their_merge(tissue: SimulatedTissue) -> None:
    types = list(tissue.reference.obs["cell_type"].cat.categories)
    rename(tissue, {types[0]: "T cell", types[1]: "t-Cell"})
    found = reported(findings(tissue), "warning", "differ only in spelling")
    _, cells = apply_fixes(tissue.spatial, tissue.reference, found.fixes)
    assert len(set(cells.obs["cell_type"])) == len(types) - 1


def test_other_names_are_offered_if_more_genes_agree(tissue: SimulatedTissue) -> None:
    """Some names agree by chance; those in a column agree far more often."""
    reference = tissue.reference
    reference.var["feature_name"] = reference.var_names.to_numpy()
    reference.var_names = [*reference.var_names[:5], *[f"ENSG{n:011d}" for n in range(reference.n_vars - 5)]]
    found = reported(
        diagnose(tissue.spatial, reference),
        "warning",
        "identifiers differ: only 5 gene names are in both",
    )
    assert [str(fix) for fix in found.fixes] == ["reference:genes=feature_name"]
    spatial, cells = apply_fixes(tissue.spatial, reference, found.fixes)
    assert len(set(spatial.var_names) & set(cells.var_names)) == 150


def test_another_species_is_reported_though_a_few_names_agree(tissue: SimulatedTissue) -> None:
    names = tissue.reference.var_names
    tissue.reference.var_names = [*names[:5], *names[5:].str.swapcase()]
    reported(findings(tissue), "warning", "The species seem to differ: only 5 gene names")


def test_repeated_barcodes_and_empty_spots_are_reported(tissue: SimulatedTissue) -> None:
    spots = tissue.spatial
    spots.obs_names = ["twice", "twice", *spots.obs_names[2:]]
    counts = spots.X.tolil()
    counts[3] = 0
    spots.X = counts.tocsr()
    found = diagnose(spots, tissue.reference)
    reported(found, "note", "1 of 80 spots is not estimated (no counts of the shared genes)")
    fixes = reported(found, "warning", "1 barcode of spots is found more than once").fixes
    assert apply_fixes(spots, tissue.reference, fixes)[0].obs_names.is_unique


def test_one_of_something_is_reported_in_the_singular(tissue: SimulatedTissue) -> None:
    spots, cells = tissue.spatial[:, :1].copy(), tissue.reference
    spots.obsm["spatial"] = spots.obsm["spatial"].astype(float)
    spots.obsm["spatial"][0] = np.nan
    cells.obs.loc[cells.obs_names[0], "cell_type"] = np.nan
    found = diagnose(spots, cells)
    reported(found, "warning", "1 gene is shared, with")
    reported(found, "warning", "1 of 80 spots is not estimated (no coordinates) and is kept, with NaN.")
    reported(found, "warning", "1 more pair of cell types has nearly the same signature")
    reported(found, "note", "1 of 120 reference cells has no label and is dropped.")
    result = deconvolve(spots, cells, lambda_c=0.0)
    assert " spots, 4 cell types, 1 gene; " in result.parameters["summary"]
    words = ("no label", "no coordinates", "shared and informative")
    shared = [one.message for one in found if any(some in one.message for some in words)]
    assert len(shared) == 3
    assert set(shared) <= set(result.notes), "check and run use the same words"


def test_an_empty_label_is_no_label(tissue: SimulatedTissue) -> None:
    types = list(tissue.reference.obs["cell_type"].cat.categories)
    rename(tissue, {types[0]: "", types[1]: " "})
    reported(
        findings(tissue),
        "note",
        "60 of 120 reference cells have no label and are dropped",
    )
    assert deconvolve(tissue.spatial, tissue.reference, lambda_c=0.0).cell_types == types[2:]


def test_no_spots_at_all_are_one_problem(tissue: SimulatedTissue) -> None:
    found = diagnose(tissue.spatial[:0].copy(), tissue.reference)
    (problem,) = (one.message for one in found if one.level == "problem")
    assert "is empty: 0 rows" in problem


def test_an_image_without_its_scale_factor_is_reported(tissue: SimulatedTissue) -> None:
    (library,) = tissue.spatial.uns["spatial"].values()
    library["scalefactors"] = {}
    reported(findings(tissue), "note", "has no scale factor")


def test_what_a_reader_has_noted_too_is_reported_once_and_at_its_level(tissue: SimulatedTissue) -> None:
    tissue.spatial.obsm["spatial"] += 1e4
    noted = reported(findings(tissue), "warning", "outside of the hires image").message
    tissue.spatial.uns["spotmix_notes"] = ["The reader says so.", noted]
    found = findings(tissue)
    assert [one.level for one in found if one.message == noted] == ["warning"]
    assert [one.level for one in found] == sorted((one.level for one in found), reverse=True)
    reported(found, "note", "The reader says so.")


def test_a_column_of_barcodes_is_one_problem_and_no_list_of_small_types(tissue: SimulatedTissue) -> None:
    tissue.reference.obs["cell_type"] = tissue.reference.obs_names.to_numpy()
    found = findings(tissue)
    assert [one.level for one in found if one.level != "note"] == ["problem"]


def test_counts_on_disk_are_read_in_blocks(tissue: SimulatedTissue, tmp_path: Path) -> None:
    tissue.spatial.write_h5ad(tmp_path / "spots.h5ad")
    opened = read_spatial(tmp_path / "spots.h5ad", backed=True)
    try:
        found = [one.message for one in diagnose(opened, tissue.reference)]
    finally:
        close_files(opened)
    in_memory = [one.message for one in findings(tissue)]
    assert found[0] == in_memory[0]
    assert len(found) == len(in_memory)


def test_counts_in_raw_are_offered(tissue: SimulatedTissue) -> None:
    tissue.reference.raw = tissue.reference
    tissue.reference.X = tissue.reference.X.log1p()
    (problem,) = (one for one in findings(tissue) if one.level == "problem")
    assert [str(fix) for fix in problem.fixes] == ["reference:raw"]
    assert not [
        one
        for one in diagnose(*apply_fixes(tissue.spatial, tissue.reference, problem.fixes))
        if one.level != "note"
    ]


def test_more_memory_than_there_is_is_a_warning(
    tissue: SimulatedTissue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_spotmix.dataset.diagnostics.cost.machine_megabytes", lambda: 256.0)
    reported(findings(tissue), "warning", "This machine has 0.2 GB")


def test_beyond_the_largest_measured_run_no_accuracy_is_promised(
    tissue: SimulatedTissue, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported(findings(tissue), "note", "stayed within a factor of 1.5")
    monkeypatch.setattr("napari_spotmix.dataset.diagnostics.cost.LARGEST", tissue.spatial.n_obs - 1)
    reported(findings(tissue), "note", "larger than any measured run")


@pytest.mark.parametrize(
    ("size", "seconds", "megabytes"),
    [  # measured by `benchmarks/cost.py`: 1,000 to 1,000,000 spots or bins, and a real section
        (Size(1000, 12, 513_290, 1_201_005, 4_110_324, 9_612_844), 6.0, 428),
        (Size(8000, 12, 4_091_877, 1_201_005, 32_767_020, 9_612_844), 6.9, 535),
        (Size(100_000, 20, 21_289_287, 1_916_684, 170_714_300, 15_341_476), 14.4, 1105),
        (Size(1_000_000, 20, 212_501_499, 1_916_684, 0, 15_341_476), 89.7, 3735),
        (Size(982, 17, 1_575_527, 1_100_274, 12_608_148, 8_806_276), 8.3, 554),
    ],
)
def test_the_cost_of_measured_runs_is_estimated_within_a_factor_of_one_and_a_half(
    size: Size, seconds: float, megabytes: float
) -> None:
    expected_seconds, expected_megabytes = needed(size)
    assert 1 / 1.5 < expected_seconds / seconds < 1.5
    assert 1 / 1.5 < expected_megabytes / megabytes < 1.5


def test_counts_that_a_run_leaves_in_their_file_are_not_counted_as_memory(
    tissue: SimulatedTissue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tissue.spatial.write_h5ad(tmp_path / "spots.h5ad")
    spots = read_spatial(tmp_path / "spots.h5ad", backed=True)
    assert Size.of(spots, tissue.reference, 5).spot_bytes > 0
    monkeypatch.setattr("napari_spotmix.dataset.cost.LARGE_FILE", 1)
    assert Size.of(spots, tissue.reference, 5).spot_bytes == 0


def test_what_is_called_no_problem_can_be_run(tissue: SimulatedTissue) -> None:
    """A type of one cell, spots without coordinates or counts: all reported, none refused."""
    labels = tissue.reference.obs["cell_type"].astype(str).to_numpy()
    labels[0] = "Rare"
    tissue.reference.obs["cell_type"] = labels
    tissue.spatial.obsm["spatial"][2] = np.nan
    assert not [one for one in findings(tissue) if one.level == "problem"]
    deconvolve(tissue.spatial, tissue.reference)


def test_a_diagnosis_can_be_cancelled(tissue: SimulatedTissue) -> None:
    def stop(_: object) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        diagnose(tissue.spatial, tissue.reference, on_progress=stop)


def test_the_command_prints_groups_or_json(tissue: SimulatedTissue, tmp_path: Path) -> None:
    rename(tissue, {tissue.reference.obs["cell_type"].iloc[0]: "\x1b[31mT\x1b[0m <b>"})
    tissue.spatial.write_h5ad(tmp_path / "spots.h5ad")
    tissue.reference.write_h5ad(tmp_path / "cells.h5ad")
    files = [tmp_path / "spots.h5ad", tmp_path / "cells.h5ad"]
    done = fresh_process("check", *files, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["text"] for row in rows] == [one.message for one in diagnose_files(*files)]
    done = spotmix_process("check", *files, "--fix", "reference:drop-below=99")
    assert done.returncode == 2
    assert done.stdout.startswith("1 problem:\n  - --cell-type-key: ")
    assert "\x1b" not in done.stdout


def test_a_samplesheet_is_checked_section_by_section_and_urls_are_fetched(
    tissue: SimulatedTissue, tmp_path: Path
) -> None:
    tissue.spatial.write_h5ad(tmp_path / "spots.h5ad")
    tissue.reference.write_h5ad(tmp_path / "cells.h5ad")
    tissue.spatial.X = tissue.spatial.X.log1p()
    tissue.spatial.write_h5ad(tmp_path / "log.h5ad")
    url = (tmp_path / "cells.h5ad").as_uri()
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"sample,spatial,reference\ngood,spots.h5ad,{url}\nwrong,log.h5ad,cells.h5ad\n")
    done = spotmix_process("check", sheet, "--json")
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    alone = diagnose_files(tmp_path / "spots.h5ad", tmp_path / "cells.h5ad")
    assert [row["text"] for row in found["good"]] == [one.message for one in alone]
    assert found["wrong"][0]["level"] == "problem"
    assert "Raw counts are needed." in found["wrong"][0]["text"]
    done = spotmix_process("check", tmp_path / "spots.h5ad")
    assert done.returncode == 2
    assert "reference is missing" in done.stderr.replace("`", "").replace("--", "")
