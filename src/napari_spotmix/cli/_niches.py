"""``spotmix niches``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError, attempted
from napari_spotmix.base.keys import added_keys
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.base.text import count, percent
from napari_spotmix.cli._options import path_given, whole_given
from napari_spotmix.cli._result import opened, result_problems
from napari_spotmix.cli._tables import as_table
from napari_spotmix.cli._terminal import cancellable, say
from napari_spotmix.params import N_NICHES

if TYPE_CHECKING:
    from napari_spotmix.analysis.niches import Niches

__all__ = ["niches"]

#: By which a table of this command is known.
_COLUMNS = ("spot", "niche")


def niches(
    result: Annotated[Path, Parameter(converter=path_given)],
    *,
    n_niches: Annotated[int, Parameter(converter=whole_given)] = N_NICHES,
    seed: Annotated[int | None, Parameter(converter=whole_given)] = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], converter=path_given)] = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Group spots by the cell types in and around them, and print the composition of each niche. Opens no
    window.

    For example:

        spotmix niches results --n-niches 4 --output niches.csv

    Parameters
    ----------
    result
        The folder that was the `--output` of `spotmix run`, or an .h5ad file with a result.
    n_niches
        Number of niches, 2 to 20; fewer are found if fewer neighborhoods differ.
    seed
        Random seed. Without it, that of the run.
    output
        CSV file with the niche of each spot. An earlier table of this command is replaced, any other file is
        not overwritten.
    keep
        Add the niches to the file of the result, where `spotmix view`, Python and other programs find them.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.analysis.niches import find_niches
        from napari_spotmix.io.additions import result_file, table_problems, write_table
        from napari_spotmix.io.keeping import files_behind

        problems = result_problems(result)
        problems += [] if output is None else table_problems(output, _COLUMNS, files_behind(result))
        if keep and result.exists():
            attempted(problems, lambda: result_file(result))
        if problems:
            raise InputError(problems)
        with opened(result, on_progress) as found:
            grouped = find_niches(found, n_niches, random_state=seed, on_progress=on_progress)
        labels = grouped.labels.rename_axis("spot").to_frame()
        written = [] if output is None else [write_table(output, labels, files_behind(result))]
        if keep:
            written.append(_keep(result, grouped, on_progress))
        paths = (f"  {path}" for path in written)
        return "\n".join([_in_words(grouped), *(["", "Written:"] if written else []), *paths])

    say(cancellable(work))


def _keep(path: Path, found: Niches, on_progress: ProgressCallback) -> Path:
    from napari_spotmix.base.colors import niche_colors
    from napari_spotmix.io.additions import add_to_result
    from napari_spotmix.result.file import storable_table

    keys = added_keys()
    composition = found.composition.T.rename_axis(index="cell_type", columns=None)
    return add_to_result(
        path,
        obs={keys["niche"]: found.labels},
        uns={
            keys["niche_composition"]: storable_table(composition),
            keys["niche_colors"]: list(niche_colors(found.composition.index).values()),
        },
        on_progress=on_progress,
    )


def _in_words(found: Niches) -> str:
    """Return a table with a row for each cell type, the most frequent first, and a column for each niche."""
    sizes = found.n_spots
    frequent = (found.composition.mul(sizes, axis=0).sum() / sizes.sum()).sort_values(ascending=False)
    header = ["niche", *map(str, found.composition.index)]
    rows = [[str(name), *(percent(share) for share in found.composition[name])] for name in frequent.index]
    total = ["spots", *(f"{size:,}" for size in sizes)]
    left_out = int((found.codes < 0).sum())
    lines = [f"{count(len(sizes), 'niche')} of {count(int(sizes.sum()), 'spot')}. Mean proportions:"]
    lines.append(as_table(header, [*rows, total]))
    if left_out:
        lines.append(f"{count(left_out, 'spot')} not estimated, without a niche.")
    return "\n".join(lines)
