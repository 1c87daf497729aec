"""The command ``spotmix``: read, deconvolve, write; and look at what was written.

Nothing heavy is imported before it is needed: ``spotmix --help`` loads neither napari nor Qt.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from napari_spotmix.errors import Cancelled, ConvergenceWarning, InputError, ReadError
from napari_spotmix.keys import CELL_TYPE
from napari_spotmix.params import ParameterInfo, Parameters, describe
from napari_spotmix.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

__all__ = ["main"]

WRONG_INPUT = 2
#: Seconds that a cancelled run gets to tidy up by itself before it is ended.
PATIENCE = 0.3
#: Options whose names are shorter than their parameters'.
SHORT = {"random_state": "seed", "n_threads": "threads"}
MAIN = "Model"

_Stage = Callable[[], AbstractContextManager[ProgressCallback]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    0: done. 2: wrong input, all of it told. 130: cancelled by Ctrl-C (143: ended by another
    program), with nothing left behind.
    """
    app = _app()
    try:
        app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:  # cyclopts has printed what is wrong
        _say(f"See {' '.join(['spotmix', *(error.command_chain or ()), '--help'])}", sys.stderr)
        sys.exit(WRONG_INPUT)
    except InputError as error:
        _say(f"Error: {_as_options(str(error))}", sys.stderr)
        sys.exit(WRONG_INPUT)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _app() -> App:
    app = App(
        name="spotmix",
        help="Find out which cell types every spot of a tissue holds, and look at them in napari.\n\n"
        "New here? `spotmix demo` shows a finished example; `spotmix run --help` tells how to run your own.",
        help_format="markdown",
        version=_version,
    )
    app.command(_run_command(), name="run")
    app.command(demo)
    app.command(view)
    app.command(figure)
    return app


def _version() -> str:
    from napari_spotmix import __version__

    return __version__


# -------------------------------------------------------------------------------------- spotmix run

RUN_HELP = """Deconvolve a section: find the proportion of each cell type in each spot.

Writes three files into the folder OUTPUT: `spatial.h5ad` (everything, for scanpy and napari),
`proportions.csv` (spots x cell types, for a spreadsheet) and `recipe.toml` (how it was made).

For example:

    spotmix run sample/outs cells.h5ad --cell-type-key cell_type --output results"""


@cache
def _group(name: str, rank: int) -> Group:
    """Return the one group of that name in the help, which cyclopts tells apart by identity."""
    return Group(name, sort_key=rank)


def _run_command() -> Callable[..., None]:
    """Return the command ``run``, with one option per field of `Parameters`."""

    def run(
        spatial: Path,
        reference: Path,
        *,
        output: Path,
        cell_type_key: str = CELL_TYPE,
        layer: str | None = None,
        sample_key: str | None = None,
        **values: Any,
    ) -> None:
        settings = {"cell_type_key": cell_type_key, "layer": layer, "sample_key": sample_key}
        run_files(spatial, reference, output, settings, values)

    signature = inspect.signature(run, eval_str=True)
    fixed = [parameter for name, parameter in signature.parameters.items() if name != "values"]
    fixed = [item.replace(annotation=Annotated[item.annotation, RUN_PARAMETERS[item.name]]) for item in fixed]
    options = [_option(info) for info in describe()]
    run.__signature__ = signature.replace(parameters=[*fixed, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in (*fixed, *options)} | {"return": None}
    run.__doc__ = RUN_HELP
    return run


def _path(_: Any, tokens: Sequence[Any]) -> Path:
    """Refuse an empty path, often a variable that was never set; it would mean the current folder."""
    if not tokens[0].value:
        raise ValueError("the path is empty.")
    return Path(tokens[0].value)


RUN_PARAMETERS = {
    "spatial": Parameter(
        converter=_path,
        help="The tissue: a Space Ranger output folder (often called `outs`) or an .h5ad file with "
        "`obsm['spatial']`. Raw counts.",
    ),
    "reference": Parameter(
        converter=_path,
        help="Single cells with known types: an .h5ad file. Raw counts.",
    ),
    "output": Parameter(
        name=["--output", "-o"],
        converter=_path,
        help="Folder for the results. It is made if it does not exist; other files in it are left alone.",
        group=_group("Files", 1),
    ),
    "cell_type_key": Parameter(
        help="Column of the reference's `obs` that holds the cell types.", group=_group("Files", 1)
    ),
    "layer": Parameter(
        help="Layer that holds the raw counts, in both files; without it they are taken from `X`.",
        group=_group("Files", 1),
    ),
    "sample_key": Parameter(
        help="Column of the tissue's `obs` that tells its sections apart; spots of different sections are "
        "never linked.",
        group=_group("Files", 1),
    ),
}


def option_name(name: str) -> str:
    """Return the option of a parameter: ``lambda_c`` is ``--lambda-c``, ``random_state`` is ``--seed``."""
    return "--" + SHORT.get(name, name).replace("_", "-")


def _groups() -> list[str]:
    return list(dict.fromkeys(info.group for info in describe()))


def _option(info: ParameterInfo) -> inspect.Parameter:
    is_main = not info.advanced or info.name in SHORT
    group = _group(MAIN, 2) if is_main else _group(f"Advanced: {info.group}", 3 + _groups().index(info.group))
    kind: Any = Literal[info.choices] if info.choices else info.kind
    parameter = Parameter(
        name=option_name(info.name),
        help=info.help + _bounds(info),
        group=group,
        converter=None if info.kind is bool else _converter(info),
        show_default=info.default is not None,
    )
    annotation: Any = Annotated[kind | None if info.optional else kind, parameter]
    return inspect.Parameter(
        info.name, inspect.Parameter.KEYWORD_ONLY, default=info.default, annotation=annotation
    )


def _bounds(info: ParameterInfo) -> str:
    limits = [("at least", info.minimum), ("at most", info.maximum)]
    words = ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
    return f" ({', '.join(part for part in (info.unit, words) if part)})" if info.unit or words else ""


def _converter(info: ParameterInfo) -> Callable[[Any, Sequence[Any]], Any]:
    """Return a converter that leaves what is wrong as it is, for all of it to be told at once."""

    def convert(_: Any, tokens: Sequence[Any]) -> Any:
        text = tokens[0].value
        try:
            return text if info.choices else info.kind(text)
        except ValueError:
            return text

    return convert


def run_files(
    spatial: Path, reference: Path, output: Path, settings: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Read both files, deconvolve, write into `output` and say what came out.

    Raises
    ------
    InputError
        Everything that is wrong with the parameters, the files and the output folder.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.io import checksums, make_recipe, write_outputs

        inputs = {"spatial": spatial, "reference": reference}
        with _gathered(inputs, output, settings, values, on_progress) as (params, tissue, cells):
            from napari_spotmix.pipeline import deconvolve  # compiles: only for input that can be used

            sums = checksums(inputs, on_progress=on_progress)
            result = deconvolve(tissue, cells, params=params, on_progress=on_progress, **settings)
            recipe = make_recipe(sums, result.parameters)
            written = write_outputs(
                output,
                adata=result.to_anndata(),
                proportions=result.proportions,
                recipe=recipe,
                on_progress=on_progress,
            )
        return _report(result.parameters["summary"], list(result.notes), written, output)

    _say(_cancellable(work))


@contextmanager
def _gathered(
    inputs: Mapping[str, Path],
    output: Path,
    settings: Mapping[str, Any],
    values: Mapping[str, Any],
    on_progress: ProgressCallback,
) -> Iterator[tuple[Parameters, AnnData, AnnData]]:
    """Check and read everything before the long run, tell all problems at once; close files in the end."""
    from napari_spotmix.io import close_files, is_large, output_problems, read_reference, read_spatial

    problems = output_problems(output, inputs)
    params = _attempt(problems, lambda: Parameters(**values))
    path, key = inputs["spatial"], settings["cell_type_key"]
    tissue = _attempt(problems, lambda: read_spatial(path, backed=is_large(path), on_progress=on_progress))
    try:
        cells = _attempt(
            problems, lambda: read_reference(inputs["reference"], cell_type_key=key, on_progress=on_progress)
        )
        if problems:
            problems += _problems_inside(tissue, cells, settings)
            raise InputError(problems)
        yield params, tissue, cells
    finally:
        if tissue is not None:
            close_files(tissue)


def _problems_inside(tissue: AnnData | None, cells: AnnData | None, settings: Mapping[str, Any]) -> list[str]:
    """Return what else is wrong with files that could be read; alone, `deconvolve` tells it."""
    from napari_spotmix.checks import check

    return check(tissue, cells, **settings) if tissue is not None and cells is not None else []


def _attempt(problems: list[str], action: Callable[[], Any]) -> Any:
    try:
        return action()
    except ReadError as error:
        problems += [f"{error.path}: {text}" for text in error.problems]
    except InputError as error:
        problems += error.problems
    return None


#: Options of `spotmix figure` that a message may name.
_FIGURE_OPTIONS = ("show", "opacity", "region", "dpi")


def _as_options(text: str) -> str:
    """Call the parameters in a message by the names of their options."""
    for name in (
        *_FIGURE_OPTIONS,
        "output",
        "cell_type_key",
        "layer",
        "sample_key",
        *(info.name for info in describe()),
    ):
        text = text.replace(f"`{name}`", option_name(name))
    return text


def _report(summary: str, notes: Sequence[str], written: Sequence[Path], output: Path) -> str:
    lines = [summary]
    lines += ["", "Notes:", *(f"  - {note}" for note in notes)] if notes else []
    lines += ["", "Written:", *(f"  {path}" for path in written)]
    lines += ["", f"Look at it in napari: spotmix view {shlex.quote(str(output))}"]
    return "\n".join(lines)


# ------------------------------------------------------------------------- spotmix demo, spotmix view


def demo(
    *,
    screenshot: Annotated[
        Path | None, Parameter(help="Write a picture of the window to this PNG file, and close it.")
    ] = None,
) -> None:
    """Open napari with a simulated tissue that is already deconvolved.

    Click a spot to see what it holds, and a cell type in the list to see where it is.
    Needs no files. For example:

        spotmix demo

    Parameters
    ----------
    screenshot
        Where to write the picture.
    """
    _check_screenshot(screenshot)
    _check_viewer()
    from napari_spotmix.ui.demo import run_demo

    run_demo(screenshot)


def view(
    directory: Annotated[Path, Parameter(help="The folder that was the `--output` of `spotmix run`.")],
) -> None:
    """Open the results of `spotmix run` in napari.

    For example:

        spotmix view results

    Parameters
    ----------
    directory
        Folder of a finished run.
    """
    if not (directory / "spatial.h5ad").is_file():
        problem = (
            "is not the folder of a finished run: it holds no `spatial.h5ad`. Make one with `spotmix run`."
        )
        raise ReadError(directory, problem)
    _check_viewer()
    from napari_spotmix.ui.demo import view as open_results

    open_results(directory)


# ------------------------------------------------------------------------------------ spotmix figure


def figure(
    result: Annotated[Path, Parameter(converter=_path)],
    *,
    show: Annotated[list[str], Parameter(negative="")],
    output: Annotated[Path, Parameter(name=["--output", "-o"], converter=_path)],
    image: bool = True,
    opacity: float = 1.0,
    region: Annotated[tuple[float, float, float, float] | None, Parameter(negative="")] = None,
    dark: Annotated[bool, Parameter(negative="")] = False,
    dpi: float = 300,
) -> None:
    """Draw a result over its tissue as PNG, SVG or PDF, for a paper or a slide. Opens no window.

    For example:

        spotmix figure results --show Macrophage --output macrophages.pdf

    Parameters
    ----------
    result
        The folder that was the `--output` of `spotmix run`, or an .h5ad file with a result.
    show
        A cell type, or one of dominant, unexplained, counts and pies. Give it up to twelve times for
        cell types side by side.
    output
        File to write, which is replaced if it exists. It is a PNG, SVG or PDF by the ending of its name.
    image
        Draw the tissue image below, where there is one.
    opacity
        Of the spots, from 0 to 1.
    region
        Left, top, right and bottom of what is drawn, in full-resolution pixels; else all spots.
    dark
        Light on dark, for slides.
    dpi
        Pixels per inch.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.figure import draw, save, save_problems
        from napari_spotmix.io import close_files, is_large
        from napari_spotmix.result import read_result

        if problems := save_problems(output, dpi):
            raise InputError(problems)
        found = read_result(result, backed=_is_file_of(result, is_large), on_progress=on_progress)
        try:
            shown = show[0] if len(show) == 1 else show
            on_progress(Progress("Drawing", 0, 1))
            drawn = draw(found, shown, image=image, opacity=opacity, region=region, dark=dark)
            return f"Written:\n  {save(drawn, output, dpi)}"
        finally:
            close_files(found.spatial)

    _say(_cancellable(work))


def _is_file_of(path: Path, is_large: Callable[[Path], bool]) -> bool:
    """Tell whether the file of a result is large, which may be missing."""
    file = path / "spatial.h5ad" if path.is_dir() else path
    return file.is_file() and is_large(file)


def _check_screenshot(path: Path | None) -> None:
    if path is not None and path.is_dir():
        raise InputError(f"`--screenshot`: {path} is a folder. Give the name of a PNG file.")
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"`--screenshot`: there is no folder {path.absolute().parent}. Make it first.")


def _check_viewer() -> None:
    """Say what is missing for a window, before napari fails in its own words."""
    if not any(_is_installed(name) for name in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        raise InputError(
            "napari needs a Qt library to open a window, and none is installed. "
            'Install one with `pip install "napari-spotmix[all]"`.'
        )
    has_display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    if sys.platform.startswith("linux") and not has_display:
        raise InputError(
            "There is no display to open a window on (DISPLAY is not set). "
            "On a server put `xvfb-run -a` before the command, for example "
            "`xvfb-run -a spotmix demo --screenshot demo.png`."
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # what Python raises for a module that is blocked
        return False


# ------------------------------------------------------------------- progress, cancelling and printing


def _cancellable(work: Callable[[ProgressCallback], Any]) -> Any:
    """Do `work` in a thread and return what it returns; leave the process on SIGINT or SIGTERM.

    Compiled code cannot be interrupted, but this thread can: where the work has not stopped by
    itself soon after the signal, its unfinished files are removed and the process ends.
    """
    received: list[int] = []
    outcome: dict[str, Any] = {}

    def attempt() -> None:
        try:
            outcome["result"] = work(report)
        except BaseException as error:
            outcome["error"] = error

    with _signals(received), _plain_warnings(), _progress_display() as show:

        def report(progress: Progress) -> None:
            if received:
                raise Cancelled
            show(progress)

        thread = threading.Thread(target=attempt, name="spotmix-run", daemon=True)
        thread.start()
        while thread.is_alive() and not received:
            thread.join(0.05)
        thread.join(PATIENCE if received else None)
    if received and "result" not in outcome:
        _leave(128 + received[0])
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def _leave(code: int) -> None:
    """End the process now, whatever its threads are doing, with nothing left behind."""
    # Not by an import, which would wait for one that the other thread may be in the middle of.
    discard = getattr(sys.modules.get("napari_spotmix.io.export"), "discard_unfinished", None)
    if discard is not None:
        discard()
    _say("Cancelled. Nothing was written.", sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _signals(received: list[int]) -> Iterator[None]:
    """Note Ctrl-C and a request to end instead of being interrupted by them."""

    def note(number: int, _: Any) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our own warnings in one line each, and nothing of other packages' housekeeping."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.showwarning = lambda message, *_, **__: _say(
            f"Warning: {_as_options(str(message))}", sys.stderr
        )
        yield


@contextmanager
def _progress_display() -> Iterator[ProgressCallback]:
    """Show progress on stderr: a bar on a terminal, elsewhere one line per stage."""
    if not sys.stderr.isatty():
        yield _one_line_per_stage()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[right]}"),
    )
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("Starting", total=None, right="")

        def show(progress: Progress) -> None:
            right = "" if progress.violation is None else f"violation {progress.violation:.1e}"
            total = progress.total or None
            bars.update(task, description=progress.stage, completed=progress.step, total=total, right=right)

        yield show


def _one_line_per_stage() -> ProgressCallback:
    last = ""

    def show(progress: Progress) -> None:
        nonlocal last
        if progress.stage != last:
            last = progress.stage
            _say(f"{progress.stage} ...", sys.stderr)

    return show


def _say(text: str, stream: Any = None) -> None:
    """Print text in which nothing from a file can steer the terminal."""
    shown = "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)
    print(shown, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    main()
