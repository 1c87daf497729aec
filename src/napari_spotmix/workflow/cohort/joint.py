"""What the sections of a cohort have in common: one table of spots, one of samples, one page."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.workflow.cohort.section import FAILED, Outcome

if TYPE_CHECKING:
    import pandas as pd

    from napari_spotmix.result import Result
    from napari_spotmix.workflow.cohort.sheet import Section

__all__ = ["JOINT", "REPORT", "SAMPLES", "cohort_problems", "samples_of", "write_joint"]

JOINT, SAMPLES, REPORT = "proportions.parquet", "samples.csv", "report.html"
_OF_SPOTS = ["sample", "condition", "spot", "x", "y"]
_OF_SAMPLES = ["sample", "condition", "state", "spots", "seconds", "message", "folder"]


def cohort_problems(output: Path, sheet: Path, sections: Sequence[Section] = ()) -> list[str]:
    """Say why the results of a cohort cannot be written into a folder; an empty list if they can.

    Parameters
    ----------
    output, sheet : Path
    sections : sequence of Section, optional
        No file that one of them reads is replaced by the cohort or by another section.
    """
    from napari_spotmix.io import OUTPUTS, output_problems
    from napari_spotmix.io.keeping import files_of_inputs, is_one_of

    if problems := output_problems(output, {"samplesheet": sheet}):
        return problems
    taken = [output / name for name in (JOINT, SAMPLES, REPORT) if os.path.lexists(output / name)]
    if is_one_of(sheet, taken):
        return [f"`output`: {sheet} is the samplesheet and is not overwritten. Choose another folder."]
    read = [file for one in sections for file in files_of_inputs(one.spec.inputs, one.spec.reading)]
    folders = [one.folder for one in sections]
    written = [path for home in folders for name in (*OUTPUTS, REPORT) if (path := home / name).exists()]
    if lost := [path for path in (*taken, *written) if is_one_of(path, read)]:
        return [
            f"`output`: {lost[0]} is an input of a section and is not overwritten. Choose another folder."
        ]
    if taken and not (_is_ours(output / SAMPLES) and _is_joint(output / JOINT)):
        found = ", ".join(path.name for path in taken)
        words = f"holds {found}, not made by an earlier run of a samplesheet. Choose another folder."
        return [f"`output`: {output} {words}"]
    return []


def _is_joint(table: Path) -> bool:
    """Whether there is no table of all spots, or one of an earlier run."""
    from pyarrow import ArrowException, parquet

    try:
        with table.open("rb") as file:
            return list(parquet.read_schema(file).names[: len(_OF_SPOTS)]) == _OF_SPOTS
    except FileNotFoundError:
        return True
    except (OSError, ValueError, ArrowException):
        return False


def _is_ours(samples: Path) -> bool:
    return _header(samples)[: len(_OF_SAMPLES)] == _OF_SAMPLES


def _header(table: Path) -> list[str]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, ValueError, csv.Error):
        return []


def samples_of(output: Path) -> dict[str, Path]:
    """Return the folder of each finished section of a cohort, by sample; empty if there is no cohort.

    Examples
    --------
    >>> samples_of(Path("no/such/folder"))
    {}
    """
    if not _is_ours(output / SAMPLES):
        return {}
    with (output / SAMPLES).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    folders = {row["sample"]: output / Path(row["folder"]).name for row in rows if row["state"] != FAILED}
    return {sample: folder for sample, folder in folders.items() if (folder / "spatial.h5ad").is_file()}


def write_joint(
    outcomes: Sequence[Outcome], output: Path, *, on_progress: ProgressCallback = silent
) -> list[Path]:
    """Write ``proportions.parquet``, ``samples.csv`` and ``report.html`` of the sections that are finished.

    Parameters
    ----------
    outcomes : sequence of Outcome
    output : Path
        Made if it does not exist. The files are replaced.
    on_progress : callable, optional
        Called before each section; raises `Cancelled` to stop.

    Returns
    -------
    list of Path
        The files written. If no section is finished, ``samples.csv`` alone.

    Notes
    -----
    One section is in memory at a time.
    """
    from napari_spotmix.io import write_atomically

    output.mkdir(parents=True, exist_ok=True)
    finished = [outcome for outcome in outcomes if outcome.state != FAILED]
    types = list(dict.fromkeys(name for outcome in finished for name in _types(outcome)))
    summaries: dict[str, tuple[int, dict[str, float]]] = {}

    def parts() -> Iterator[pd.DataFrame]:
        for number, outcome in enumerate(finished):
            on_progress(Progress("Joining sections", number, len(finished)))
            with _opened(outcome) as result:
                summaries[outcome.sample] = (len(result.proportions), dict(result.mean_proportions))
                yield _of_spots(outcome, result, types)

    written = []
    for name in (JOINT, REPORT):  # files of other sections would mislead
        (output / name).unlink(missing_ok=True)
    if finished:
        written.append(write_atomically(output / JOINT, lambda path: _write_parquet(parts(), types, path)))
    table = _of_samples(outcomes, types, summaries)
    written.append(
        write_atomically(output / SAMPLES, lambda path: table.to_csv(path, index=False, lineterminator="\n"))
    )
    return [*written, *_write_report(outcomes, output, on_progress)]


def _types(outcome: Outcome) -> list[str]:
    return _header(outcome.folder / "proportions.csv")[1:]


@contextmanager
def _opened(outcome: Outcome) -> Iterator[Result]:
    """Give the result of a section, its counts left on disk."""
    from napari_spotmix.io import close_files
    from napari_spotmix.result import read_result

    result = read_result(outcome.folder, backed=True)
    try:
        yield result
    finally:
        close_files(result.spatial)


def _of_spots(outcome: Outcome, result: Result, types: list[str]) -> pd.DataFrame:
    """Return a row for each spot of a section; a type that its reference does not have is missing."""
    shares = result.proportions.reindex(columns=types)
    x, y = result.coordinates.T
    table = shares.set_axis(_apart(types, _OF_SPOTS), axis=1).reset_index(drop=True)
    for at, values in enumerate((outcome.sample, outcome.condition, shares.index.astype(str), x, y)):
        table.insert(at, _OF_SPOTS[at], values)
    return table


def _apart(types: list[str], others: list[str]) -> list[str]:
    """Return the names of types as columns, those changed that another column has."""
    return [f"{name} (cell type)" if name in others else name for name in types]


def _write_parquet(parts: Iterable[pd.DataFrame], types: list[str], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    texts = [(name, pa.string()) for name in _OF_SPOTS[:3]]
    numbers = [(name, pa.float64()) for name in [*_OF_SPOTS[3:], *_apart(types, _OF_SPOTS)]]
    schema = pa.schema([*texts, *numbers])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(pa.Table.from_pandas(part, schema=schema, preserve_index=False))


def _of_samples(
    outcomes: Sequence[Outcome], types: list[str], summaries: dict[str, tuple[int, dict[str, float]]]
) -> pd.DataFrame:
    """Return a row for each section with its mean composition."""
    import pandas as pd

    rows = []
    for one in outcomes:
        n_spots, means = summaries.get(one.sample, (None, {}))
        about = [one.sample, one.condition, one.state, n_spots, one.seconds, one.message, one.folder.name]
        rows.append([*about, *(means.get(name) for name in types)])
    table = pd.DataFrame(rows, columns=[*_OF_SAMPLES, *_apart(types, _OF_SAMPLES)])
    return table.astype({"spots": "Int64"})


def _write_report(outcomes: Sequence[Outcome], output: Path, on_progress: ProgressCallback) -> list[Path]:
    """Write the page of all sections."""
    from napari_spotmix.io import write_atomically
    from napari_spotmix.output.report import joint_report

    html = joint_report(
        {one.sample: one.folder for one in outcomes if one.state != FAILED},
        {one.sample: one.message for one in outcomes if one.state == FAILED},
        title=output.resolve().name,
        home=output,
        on_progress=on_progress,
    )
    return [
        write_atomically(output / REPORT, lambda path: path.write_text(html, encoding="utf-8", newline="\n"))
    ]
