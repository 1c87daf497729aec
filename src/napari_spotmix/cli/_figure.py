"""``spotmix figure``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.cli._options import path_given
from napari_spotmix.cli._result import opened
from napari_spotmix.cli._terminal import cancellable, say

__all__ = ["figure"]


def figure(
    result: Annotated[Path, Parameter(converter=path_given)],
    *,
    show: Annotated[list[str], Parameter(negative="")],
    output: Annotated[Path, Parameter(name=["--output", "-o"], converter=path_given)],
    image: bool = True,
    opacity: float = 1.0,
    region: Annotated[tuple[float, float, float, float] | None, Parameter(negative="")] = None,
    color_range: str | None = None,
    threshold: float = 0.0,
    blend: Annotated[bool, Parameter(negative="")] = False,
    outlines: Annotated[bool, Parameter(negative="")] = False,
    dark: Annotated[bool, Parameter(negative="")] = False,
    dpi: float = 300,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Draw a result over its tissue as PNG, SVG or PDF, for a paper or a slide. Opens no window.

    For example:

        spotmix figure results --show Macrophage --output macrophages.pdf

    Parameters
    ----------
    result
        The folder that was the `--output` of `spotmix run`, or an .h5ad file with a result.
    show
        A cell type, or one of dominant, unexplained, counts, errors, graph and pies. Repeat for each of up
        to twelve cell types side by side.
    output
        File to write; the extension sets the format: .png, .svg or .pdf. An earlier figure of spotmix is
        replaced, any other file is kept.
    image
        Draw the tissue image under the spots, if available.
    opacity
        Opacity of the spots, from 0 to 1.
    region
        Left, top, right and bottom of the region to draw, in full-resolution pixels. Without it, all spots.
    color_range
        Where the colors of proportions end: own (the rounded maximum of each map), full (1), same (the
        largest maximum of the types shown), or a number. Without it, as napari has saved it with the result,
        else own.
    threshold
        Fade spots with a smaller proportion than this.
    blend
        Draw two to six cell types in one map, their colors blended.
    outlines
        Draw the regions that are stored with the result, with their names.
    dark
        Use a dark background, for slides.
    dpi
        Pixels per inch.
    overwrite
        Replace an existing file, whatever it is; never one that the run has read.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.io.keeping import files_behind, replace_problems
        from napari_spotmix.output.figure import draw, save, save_problems

        problems = save_problems(output, dpi)
        if problems := [*problems, *replace_problems(output, files_behind(result), overwrite=overwrite)]:
            raise InputError(problems)
        with opened(result, on_progress) as found:
            shown = show[0] if len(show) == 1 else show
            on_progress(Progress("Drawing", 0, 1))
            drawn = draw(
                found,
                shown,
                image=image,
                opacity=opacity,
                region=region,
                dark=dark,
                color_range=color_range,
                threshold=threshold,
                blend=blend,
                outlines=outlines,
            )
            return f"Written:\n  {save(drawn, output, dpi)}"

    say(cancellable(work))
