"""Odd names, texts of any length and files of other programs end in a sentence, never in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import pandas as pd
import pytest

from napari_spotmix import InputError, ReadError, read_reference, read_regions
from napari_spotmix.base.errors import attempted
from napari_spotmix.base.text import LONGEST_MESSAGE, quoted
from napari_spotmix.dataset.finding import NOTE, Finding
from tests.cli.commands import spotmix
from tests.torture.sample import FAST

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}


@pytest.mark.filterwarnings("ignore:Observation names are not unique")  # they are the point
def test_cells_of_one_name_each_get_their_label(sample: Path, tmp_path: Path) -> None:
    cells = anndata.read_h5ad(sample / "cells.h5ad")
    types = cells.obs.pop("cell_type").astype(str)
    cells.obs_names = [f"cell {at // 2}" for at in range(cells.n_obs)]
    table = pd.DataFrame({"cell": cells.obs_names, "kind": types.to_numpy()})[::2]
    table.to_csv(tmp_path / "cell_types.csv", index=False)
    cells.to_df().astype(int).to_csv(tmp_path / "counts.csv")
    read = read_reference(tmp_path / "counts.csv")
    assert read.n_obs == cells.n_obs
    assert read.obs["cell_type"].astype(str).tolist() == list(table["kind"].repeat(2))[: cells.n_obs]


@pytest.mark.parametrize(
    "properties", ["text", 3, ["list"], True, {"classification": "x"}, {"name": {"a": 1}}]
)
def test_properties_of_any_kind_are_read(properties: object, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "Feature", "geometry": SQUARE, "properties": properties}))
    (region,) = read_regions(path)
    assert isinstance(region.name, str)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        json.dumps(["text"]),
        json.dumps({"features": "text"}),
        json.dumps({"features": [{"geometry": "text"}]}),
        json.dumps([{"geometry": {"type": "Polygon", "coordinates": "text"}}]),
        f'[{{"geometry": {{"type": "Polygon", "coordinates": [[[{10**400}, 0], [0, 1], [1, 1], [0, 0]]]}}}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": ' + "[" * 500 + "1" + "]" * 500 + "}}]",
    ],
)
def test_geojson_that_holds_no_regions_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(text)
    with pytest.raises(ReadError) as caught:
        read_regions(path)
    assert len(str(caught.value)) < 2 * LONGEST_MESSAGE


@pytest.mark.parametrize("name", ["report.html", "samples.csv", "Proportions.parquet", "recipe.toml"])
def test_a_sample_may_be_called_like_an_output(name: str, sample: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"sample,spatial,reference\n{name},{sample / 'spots.h5ad'},{sample / 'cells.h5ad'}\n")
    done = spotmix("check", sheet, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    from napari_spotmix.workflow.cohort import read_samplesheet

    assert read_samplesheet(sheet, tmp_path / "out")[0].folder.name == f"_{name}"


def test_a_cohort_with_a_sample_called_report_is_written(sample: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        f"sample,spatial,reference\nreport.html,{sample / 'spots.h5ad'},{sample / 'cells.h5ad'}\n"
    )
    done = spotmix("run", sheet, "-o", tmp_path / "out", *FAST)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "_report.html" / "spatial.h5ad").is_file()


def test_names_of_300_letters_are_refused_by_each_command(
    finished: Path, sample: Path, tmp_path: Path
) -> None:
    name = "a" * 300
    inputs = (sample / "spots.h5ad", sample / "cells.h5ad")
    for words in (
        ("run", *inputs, "-o", tmp_path / name, *FAST),
        ("check", *inputs, "-o", tmp_path / name),
        ("rerun", finished, "-o", tmp_path / name),
        ("export", finished, "--to", tmp_path / f"{name}.csv"),
        ("figure", finished, "--show", "dominant", "-o", tmp_path / f"{name}.png"),
        ("report", finished, "-o", tmp_path / f"{name}.html"),
        ("niches", finished, "-o", tmp_path / f"{name}.csv"),
        ("regions", finished, "-o", tmp_path / f"{name}.csv"),
        ("run", tmp_path / name, sample / "cells.h5ad", "-o", tmp_path / "out"),
    ):
        done = spotmix(*words)
        assert done.returncode == 2, words[0]
        assert "255 bytes" in " ".join(done.stderr.replace("│", " ").split()), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_rerun_next_to_a_folder_with_a_long_name_is_refused_before_it_runs(finished: Path) -> None:
    folder = finished.rename(finished.with_name("a" * 253))
    done = spotmix("rerun", folder)
    assert done.returncode == 2
    assert "File name too long" in done.stderr


def test_a_message_has_at_most_600_letters_and_keeps_its_advice() -> None:
    text = f"`layer` is {'x' * 5000}. Choose another."
    for error in (InputError(text), InputError([text, text]), ReadError("a", text)):
        assert all(len(problem) <= LONGEST_MESSAGE for problem in error.problems)
        assert all(problem.endswith("Choose another.") for problem in error.problems)
    assert len(Finding(NOTE, text).message) <= LONGEST_MESSAGE
    assert len(quoted("x" * 5000)) < 130
    assert len(str(ReadError("p" * 4000, text))) <= 2 * LONGEST_MESSAGE + 2

    def refuse() -> None:
        raise ReadError("p" * 4000, text)

    problems: list[str] = []
    attempted(problems, refuse)
    assert [len(problem) <= LONGEST_MESSAGE for problem in problems] == [True]


def test_cells_of_a_samplesheet_of_any_length_are_quoted_in_part(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"sample,spatial,reference,{'c' * 5000}\na,{'b' * 5000},c,d\n")
    done = spotmix("run", sheet, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert max(map(len, done.stderr.splitlines())) < LONGEST_MESSAGE + 20
