"""One section from files to files: what the command line, a recipe and a samplesheet have in common."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from napari_spotmix.base.errors import InputError, attempted
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.params import Parameters

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.io import ReadOptions
    from napari_spotmix.result import Result

__all__ = [
    "Finished",
    "Job",
    "changed_versions",
    "default_of",
    "fetched_job",
    "job_of",
    "paths_given",
    "run_job",
    "sums_of",
    "tables_of",
]


def _nothing_told() -> ReadOptions:
    from napari_spotmix.io.readers.options import DEFAULT  # brings all of io, which help texts do not need

    return DEFAULT


@dataclass(frozen=True)
class Job:
    """What to read, how to run it, and where to write; nothing of it has been looked at yet.

    Attributes
    ----------
    spatial, reference : Path or str
        As `read_spatial` and `read_reference` take them; or a URL, a text with "://" in it.
    output : Path
        Folder for the results.
    cell_type_key, layer, library_key
        As `deconvolve` takes them.
    parameters : mapping
        Fields of `Parameters` that differ from their defaults.
    reading : ReadOptions
        What `read_spatial` is told beside the path.
    report : bool
        Whether to write ``report.html`` too.
    labels : Path, optional
        Table of cells and their types, as `read_reference` takes it.
    more_references : tuple of Path
        References that are joined with the first.
    fix : tuple of str
        What is fixed in the data once they are read, as `fixes.parse_fix` takes it.
    """

    spatial: Path | str
    reference: Path | str
    output: Path
    cell_type_key: str = CELL_TYPE
    layer: str | None = None
    library_key: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reading: ReadOptions = field(default_factory=_nothing_told)
    report: bool = True
    labels: Path | None = None
    more_references: tuple[Path | str, ...] = ()
    fix: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Path | str]:
        """What is read, by role; `paths_given` turns it back."""
        beside = {
            "image": self.reading.image,
            "coordinates": self.reading.coordinates,
            "labels": self.labels,
        }
        further = {f"reference_{n}": path for n, path in enumerate(self.more_references, start=2)}
        told = {role: path for role, path in beside.items() if path is not None}
        return {"spatial": self.spatial, "reference": self.reference, **further, **told}

    @property
    def references(self) -> list[Path | str]:
        """All references, that are joined where there are several."""
        return [self.reference, *self.more_references]

    @property
    def settings(self) -> dict[str, Any]:
        """How the files are read, as keywords of `deconvolve`."""
        return {"cell_type_key": self.cell_type_key, "layer": self.layer, "library_key": self.library_key}


#: Roles of references that are joined with the first.
_FURTHER = re.compile(r"reference_\d+")


def paths_given(inputs: Mapping[str, Path | str]) -> dict[str, Any]:
    """Return the paths of a job as its fields, from what `Job.inputs` gives; those of `reading` are none.

    Examples
    --------
    >>> job = Job(Path("outs"), Path("a.h5ad"), Path("out"), more_references=(Path("b.h5ad"),))
    >>> list(job.inputs), [path.name for path in paths_given(job.inputs)["more_references"]]
    (['spatial', 'reference', 'reference_2'], ['b.h5ad'])
    """
    further = [name for name in inputs if _FURTHER.fullmatch(name)]
    in_order = sorted(further, key=lambda name: int(name.removeprefix("reference_")))
    others = {name: inputs[name] for name in ("spatial", "reference", "labels") if name in inputs}
    return others | {"more_references": tuple(inputs[name] for name in in_order)}


@dataclass(frozen=True)
class Finished:
    """A result, whose counts may have been closed, and the files that it was written to."""

    result: Result
    written: list[Path]


def run_job(
    job: Job, *, sums: Mapping[str, Any] | None = None, on_progress: ProgressCallback = silent
) -> Finished:
    """Read both files, deconvolve and write.

    Parameters
    ----------
    job : Job
    sums : mapping, optional
        What `sums_of` returns, where it is known already.
    on_progress : callable, optional
        As for `deconvolve`.

    Raises
    ------
    InputError
        Everything that is wrong with the parameters, the files and the output folder.
    Cancelled
        If `on_progress` raised it; nothing is left behind.
    """
    from napari_spotmix.io import make_recipe, run_cancellable, write_outputs

    here = fetched_job(job, on_progress=on_progress)
    with _gathered(here, on_progress) as (params, tissue, cells):
        from napari_spotmix.workflow.deconvolve import deconvolve  # compiles: only for input that can be used
        from napari_spotmix.workflow.provenance import kept_with

        sums = sums or sums_of(job, on_progress=on_progress)
        result = deconvolve(tissue, cells, params=params, on_progress=on_progress, **job.settings)
        result = kept_with(result, job.fix)
        written = write_outputs(
            job.output,
            adata=run_cancellable(result.to_anndata, "Gathering results", on_progress),
            proportions=result.proportions,
            recipe=make_recipe(sums, result.parameters, tables_of(job)),
            report=_report(result, sums, on_progress) if job.report else None,
            on_progress=on_progress,
        )
    return Finished(result, written)


def _report(result: Result, sums: Mapping[str, Any], on_progress: ProgressCallback) -> str:
    from napari_spotmix.output.report import make_report

    return make_report(result, sums, on_progress=on_progress)


def fetched_job(job: Job, *, on_progress: ProgressCallback = silent) -> Job:
    """Return the same job with every URL replaced by a copy on this machine.

    Raises
    ------
    InputError
        All that keeps them from being fetched, and results from being written.
    """
    from napari_spotmix.io import fetched, is_url, output_problems

    urls = {role: str(given) for role, given in job.inputs.items() if is_url(given)}
    if not urls:
        return job
    if problems := output_problems(job.output):  # told before the long wait
        raise InputError(problems)
    fetch = partial(fetched, on_progress=on_progress)
    copies: dict[str, Any] = {role: attempted(problems, partial(fetch, url)) for role, url in urls.items()}
    if problems:
        raise InputError(problems)
    here = job.inputs | copies
    beside: dict[str, Any] = {role: here[role] for role in ("image", "coordinates") if role in here}
    return replace(job, **paths_given(here), reading=replace(job.reading, **beside))


@contextmanager
def _gathered(job: Job, on_progress: ProgressCallback) -> Iterator[tuple[Parameters, AnnData, AnnData]]:
    """Check and read everything before the long run, tell all problems at once; close files in the end."""
    from napari_spotmix.dataset.fixes import apply_fixes, parse_fixes
    from napari_spotmix.io import close_files, is_large, output_problems, read_reference, read_spatial

    problems = output_problems(job.output, job.inputs)
    fixes = attempted(problems, lambda: parse_fixes(job.fix))
    params = attempted(problems, lambda: Parameters(**job.parameters))
    tissue = attempted(
        problems,
        lambda: read_spatial(
            job.spatial,
            **asdict(job.reading),
            backed=is_large(job.spatial, job.reading),
            on_progress=on_progress,
        ),
    )
    cells = None
    try:
        cells = attempted(
            problems,
            lambda: read_reference(
                job.references,
                cell_type_key=job.cell_type_key,
                labels=job.labels,
                backed=is_large(job.reference),
                on_progress=on_progress,
            ),
        )
        both = tissue, cells
        if tissue is not None and cells is not None and fixes:
            key = job.cell_type_key
            both = attempted(problems, lambda: apply_fixes(tissue, cells, fixes, cell_type_key=key)) or both
        if problems:
            problems += _problems_inside(*both, job.settings)
            raise InputError(problems)
        assert params is not None
        yield params, *both
    finally:
        for one in (tissue, cells):
            if one is not None:
                close_files(one)


def _problems_inside(tissue: AnnData | None, cells: AnnData | None, settings: Mapping[str, Any]) -> list[str]:
    """Return what else is wrong with files that could be read; alone, `deconvolve` tells it."""
    from napari_spotmix.dataset.finding import messages
    from napari_spotmix.dataset.validation import check

    return messages(check(tissue, cells, **settings)) if tissue is not None and cells is not None else []


# ------------------------------------------------------------------------------------ a job as a recipe

#: Fields that no number depends on stand nowhere in a recipe; parameters and inputs stand by themselves.
_APART = ("output", "report", "parameters", "more_references")


def sums_of(job: Job, *, on_progress: ProgressCallback = silent) -> dict[str, dict[str, Any]]:
    """Return the checksums of everything that a job reads, as `io.checksums`; of copies, under their URLs."""
    from napari_spotmix.io import checksums, is_url, shown_url

    here = fetched_job(job, on_progress=on_progress)
    sums = checksums(here.inputs, here.reading, on_progress=on_progress)
    for role, given in job.inputs.items():
        if is_url(given):
            sums[role]["path"] = shown_url(str(given))
    return sums


def tables_of(job: Job) -> dict[str, dict[str, Any]]:
    """Return what a recipe keeps of a job beside its inputs: each field, by the table that holds it.

    A field that is a dataclass has a table of its own; all others are among the parameters.

    Examples
    --------
    >>> tables_of(Job(Path("outs"), Path("cells.h5ad"), Path("results"), layer="raw"))["parameters"]["layer"]
    'raw'
    """
    values = {item.name: getattr(job, item.name) for item in fields(job) if item.name not in _APART}
    own = {name: _storable(value) for name, value in values.items() if is_dataclass(value)}
    plain = {name: value for name, value in values.items() if name not in own and name not in job.inputs}
    return {"parameters": {name: value for name, value in plain.items() if value != ()}, **own}


def _storable(settings: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, with paths that are found from wherever they are read."""
    table = asdict(settings)
    return {name: value.absolute() if isinstance(value, Path) else value for name, value in table.items()}


def job_of(recipe: Mapping[str, Any], output: Path) -> Job:
    """Return the job that a recipe was made of, with another output.

    Parameters
    ----------
    recipe : mapping
        As `read_recipe` returns it.
    output : Path
        Folder for the results.

    Raises
    ------
    InputError
        If an input was no file, a value cannot be one of its kind, or the recipe holds what this version
        does not know; all of it.

    Examples
    --------
    >>> inputs = {"spatial": {"path": "/data/outs"}, "reference": {"path": "/data/cells.h5ad"}}
    >>> recipe = {"inputs": inputs, "parameters": {"layer": "raw", "lambda_c": 0.3}}
    >>> job = job_of(recipe, Path("again"))
    >>> job.layer, job.parameters
    ('raw', {'lambda_c': 0.3})
    """
    from napari_spotmix.io import path_or_url

    inputs, given = recipe.get("inputs", {}), dict(recipe.get("parameters", {}))
    names = {item.name for item in fields(Job)}
    values = paths_given({name: path_or_url(entry["path"]) for name, entry in inputs.items()})
    names |= {name for name in inputs if _FURTHER.fullmatch(name)}
    problems = [
        f"The recipe names no file for `{name}`: it was simulated or in memory, and cannot be read again."
        for name in ("spatial", "reference")
        if name not in inputs
    ]
    others: list[str] = []
    for item in fields(Job):
        default = default_of(item)
        if is_dataclass(default) and item.name in recipe:
            table = recipe[item.name]
            own = [one for one in fields(default) if one.name in table]
            problems += _misfits(item.name, own, table)
            values[item.name] = _restored(type(default), {one.name: table[one.name] for one in own})
            others += table.keys() - {one.name for one in own}
            names |= table.keys()
        elif item.name in given and item.name not in _APART:
            problems += _misfits("parameters", [item], given)
            found = given.pop(item.name)
            values[item.name] = tuple(found) if isinstance(found, list) else found
    known = {item.name for item in fields(Parameters)}
    attempted(problems, lambda: Parameters(**{name: given[name] for name in known & given.keys()}))
    problems += [
        f"The recipe holds `{name}`, which this version does not know. Update with "
        "`pip install --upgrade napari-spotmix`."
        for name in [*sorted(others), *sorted(given.keys() - known), *sorted(inputs.keys() - names)]
    ]
    if problems:
        raise InputError(problems)
    return Job(**values, output=output, parameters=given)


def default_of(item: Field[Any]) -> Any:
    """Return the default of a field, `dataclasses.MISSING` if it has none."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def _restored(kind: type[Any], table: Mapping[str, Any]) -> Any:
    """Return a dataclass of what TOML holds, where paths are texts and tuples are lists."""
    hints = get_type_hints(kind)
    return kind(**{name: _as_hinted(hints.get(name), value) for name, value in table.items()})


def _misfits(table: str, expected: Iterable[Field[Any]], values: Mapping[str, Any]) -> Iterator[str]:
    """Say which values in a table of a recipe are not of the kind of their fields; paths are texts there."""
    for item in expected:
        kind, value = str(item.type), values[item.name]
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if "tuple" in kind:
            fits, what = isinstance(value, list), "a list of texts" if "str" in kind else "a list"
            fits = fits and ("str" not in kind or all(isinstance(one, str) for one in value))
        elif "float" in kind:
            fits, what = is_whole or isinstance(value, float), "a number"
        elif "int" in kind:
            fits, what = is_whole, "a whole number"
        else:
            fits, what = isinstance(value, str), "a text"
        if not fits:
            yield f"In [{table}], {item.name} must be {what}, found {value!r}."


def _as_hinted(hint: Any, value: Any) -> Any:
    if isinstance(value, str) and Path in (hint, *get_args(hint)):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def changed_versions(recipe: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what has another version now than a recipe was made with: the one then, and the one now.

    Examples
    --------
    >>> list(changed_versions({"versions": {"numpy": "0.1"}}))
    ['numpy']
    """
    now = {name: _version_of(name) for name in recipe["versions"]}
    return {name: (then, now[name]) for name, then in recipe["versions"].items() if now[name] != then}


def _version_of(name: str) -> str:
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return "not installed"
