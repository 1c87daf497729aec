"""``spotmix regions``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError, attempted
from napari_spotmix.base.keys import added_keys
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.base.text import count, percent, printable, shortened
from napari_spotmix.cli._options import path_given
from napari_spotmix.cli._result import opened, result_problems
from napari_spotmix.cli._tables import as_table, p_value
from napari_spotmix.cli._terminal import cancellable, say
from napari_spotmix.params import SIGNIFICANCE

if TYPE_CHECKING:
    import pandas as pd

    from napari_spotmix.dataset.regions import Region
    from napari_spotmix.result import Result

__all__ = ["regions"]

#: By which a table of this command is known.
_COLUMNS = ("cell_type", "first", "second")
#: Letters of the name of a region that are shown with the progress.
_LETTERS = 20


def regions(
    result: Annotated[Path, Parameter(converter=path_given)],
    *,
    regions: Annotated[Path | None, Parameter(converter=path_given)] = None,
    first: str | None = None,
    second: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], converter=path_given)] = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Compare the cell types of two regions, with intervals and p values. Opens no window.

    For example:

        spotmix regions results --regions regions.geojson --first Tumor --second Stroma

    Parameters
    ----------
    result
        The folder that was the `--output` of `spotmix run`, or an .h5ad file with a result.
    regions
        GeoJSON file with outlines in full-resolution pixels, as QuPath and *Save outlines…* in napari write
        it. Without it, the regions that are stored in the result.
    first
        Name of the region to compare. Without it, each region that does not cover the whole tissue
        is compared with the rest of it.
    second
        Name of the region to compare it with. Without it, the rest of the tissue.
    output
        CSV file for the table. An earlier table of this command is replaced, any other file is not
        overwritten.
    keep
        Add the regions and the table to the file of the result, where `spotmix view`, Python and other
        programs find them.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.io.additions import result_file, write_table

        problems = _early_problems(result, regions, first, second, output)
        given = None if regions is None else attempted(problems, lambda: _read(regions))
        if keep and result.exists():
            attempted(problems, lambda: result_file(result))
        if problems:
            raise InputError(problems)
        with opened(result, on_progress) as found:
            outlines = tuple(found.regions if given is None else given)
            table = _compared(found, outlines, first, second, on_progress)
            text, kept = _in_words(table), _kept(found, outlines, table)
        written = [] if output is None else [write_table(output, table, _kept_files(result, regions))]
        if keep:
            written.append(_keep(result, *kept, on_progress))
        return "\n".join([text, *(["", "Written:"] if written else []), *(f"  {path}" for path in written)])

    say(cancellable(work))


def _early_problems(
    result: Path, regions: Path | None, first: str | None, second: str | None, output: Path | None
) -> list[str]:
    """Return what is wrong with the arguments, before anything is read."""
    from napari_spotmix.io.additions import table_problems

    problems = result_problems(result)
    if second is not None and first is None:
        problems.append("`second` needs `first`: name the region that is compared with it.")
    if output is not None:
        problems += table_problems(output, _COLUMNS, _kept_files(result, regions))
    return problems


def _kept_files(result: Path, regions: Path | None) -> list[Path]:
    from napari_spotmix.io.keeping import files_behind

    return [*files_behind(result), *([] if regions is None else [regions])]


def _read(path: Path) -> tuple[Region, ...]:
    from napari_spotmix.analysis.regions import read_regions

    return read_regions(path)


def _compared(
    result: Result,
    outlines: tuple[Region, ...],
    first: str | None,
    second: str | None,
    on_progress: ProgressCallback,
) -> pd.DataFrame:
    """Return the comparison that is asked for; without names, that of each region with the rest.

    Raises
    ------
    InputError
        If there are no regions, or something is wrong with them; lists all problems.
    """
    import pandas as pd

    from napari_spotmix.analysis.regions import compare_regions, covers_all

    if not outlines:
        raise InputError(
            "The result holds no regions. Give a GeoJSON file with `regions`, or draw them in napari and "
            "save the result."
        )
    names = list(dict.fromkeys(region.name for region in outlines)) if first is None else [first]
    if first is None and len(names) > 1:
        # An outline of the whole tissue has no rest to be compared with.
        names = [name for name in names if not covers_all(result, name, outlines)] or names[:1]
    problems: list[str] = []

    def compare(name: str) -> pd.DataFrame:
        named = _naming(name, on_progress)
        return compare_regions(result, name, second, regions=outlines, on_progress=named)

    tables = [attempted(problems, partial(compare, name)) for name in names]
    if problems:
        raise InputError(problems)
    return pd.concat([table for table in tables if table is not None])


def _naming(region: str, on_progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that names the region with each stage."""
    shown = shortened(printable(region), _LETTERS)
    return lambda progress: on_progress(replace(progress, stage=f"{progress.stage}: {shown}"))


def _kept(
    result: Result, outlines: tuple[Region, ...], table: pd.DataFrame
) -> tuple[pd.Series, tuple[Region, ...], pd.DataFrame]:
    """Return what `--keep` adds. Stored regions stay, except those with the name of a given one."""
    from napari_spotmix.analysis.regions import region_of_spots

    names = {region.name for region in outlines}
    both = (*(region for region in result.regions if region.name not in names), *outlines)
    return region_of_spots(result, both), both, table


def _keep(
    path: Path,
    of_spot: pd.Series,
    outlines: tuple[Region, ...],
    table: pd.DataFrame,
    on_progress: ProgressCallback,
) -> Path:
    from napari_spotmix.dataset.regions import to_geojson
    from napari_spotmix.io.additions import add_to_result
    from napari_spotmix.result.file import storable_table

    keys = added_keys()
    return add_to_result(
        path,
        obs={keys["region"]: of_spot},
        uns={keys["regions"]: to_geojson(outlines), keys["region_comparison"]: storable_table(table)},
        on_progress=on_progress,
    )


def _in_words(table: pd.DataFrame) -> str:
    """Return a heading and a table for each comparison, and what the columns mean."""
    from napari_spotmix.analysis.region_findings import about_p_values, interval_words

    comparisons = [_one_in_words(some) for _, some in table.groupby(["first", "second"], sort=False)]
    key = (
        f"In parentheses: {interval_words(table)}. Difference: in percentage points. "
        f"Adj. {about_p_values(len(table.index.unique()))}"
    )
    return "\n\n".join([*comparisons, key])


def _one_in_words(table: pd.DataFrame) -> str:
    from napari_spotmix.analysis.region_findings import headline

    row = table.iloc[0]
    heading = (
        f"{shortened(row['first'])} ({count(int(row['n_spots_first']), 'spot')}) against "
        f"{shortened(row['second'])} ({count(int(row['n_spots_second']), 'spot')})"
    )
    rows = [
        [
            str(name),
            _mean(row["mean_first"], row["lower_first"], row["upper_first"]),
            _mean(row["mean_second"], row["lower_second"], row["upper_second"]),
            f"{100 * row['difference']:+.1f}",
            p_value(row["p_value"]),
            p_value(row["p_holm"]) + (" *" if row["p_holm"] < SIGNIFICANCE else "  "),
        ]
        for name, row in table.iterrows()
    ]
    columns = ["cell type", "first", "second", "difference", "p", "adj. p"]
    return f"{heading}\n{headline(table)}\n{as_table(columns, rows)}"


def _mean(mean: float, low: float, high: float) -> str:
    interval = "no interval" if low != low else f"{percent(low)} to {percent(high)}"
    return f"{percent(mean)} ({interval})"
