"""The content of a report: numbers, texts and images, which the template lays out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgba_array
from numpy.typing import NDArray

from napari_spotmix.analysis.colocalization import BY_CHANCE, bivariate_moran
from napari_spotmix.base.colors import MAP, PROPORTION, pair_color
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.text import percent
from napari_spotmix.dataset.geometry import bin_sides, length_words, microns_per_pixel, round_length
from napari_spotmix.io import run_cancellable
from napari_spotmix.output.ranges import end_of_map, ends_of_types, rule_of
from napari_spotmix.output.report.maps import MOST_COLORS, Box, Raster, painted, rasterize, tissue_picture
from napari_spotmix.output.scene import FigureScene, colormap_of, scene_of
from napari_spotmix.params import describe

if TYPE_CHECKING:
    from napari_spotmix.result import Learned, PartEvidence, Result

__all__ = ["Fact", "Map", "content_of", "facts_of"]

Floats = NDArray[np.float64]
_T = TypeVar("_T")

_STAGE = "Drawing the report"
#: Pixels along the longer side of the large map and of the small ones: twice their size on a screen.
_LARGE, _SMALL = 1400, 480
_STEPS = MOST_COLORS - 1
_NOT_ESTIMATED = (0.5, 0.5, 0.5, 1.0)
_N_BARS = 40
_MOST_PAIRS = 6
_CANDIDATES = {
    "none": "no smoothing",
    "ridge": "no smoothing, abundances shrunk to zero",
    "laplacian": "neighbors weighted by distance",
    "attention": "neighbors weighted by distance and similarity",
}
_PARTS = {
    "cell_variation": "Within-type variability",
    "log_residuals": "Residuals on a logarithmic scale",
    "platform_effect": "Gene factors for the difference between technologies",
}


@dataclass(frozen=True)
class Fact:
    """A number at the top of the report, its name, and a hint."""

    name: str
    value: str
    hint: str = ""


@dataclass(frozen=True)
class Map:
    """An image of the spots, and its description in words."""

    uri: str
    words: str


def content_of(
    result: Result, inputs: Mapping[str, Any], title: str, on_progress: ProgressCallback
) -> dict[str, Any]:
    """Return all that the template of a section needs."""
    given = result
    result = run_cancellable(lambda: _laid_out(given), _STAGE, on_progress)
    section = _SectionPage(result, on_progress)
    return {
        "title": title,
        "summary": result.provenance.summary,
        "facts": run_cancellable(lambda: facts_of(result), _STAGE, on_progress),
        "notes": result.notes,
        "view_box": " ".join(f"{side:.6g}" for side in section.view_box),
        "spots_box": section.view_box,
        "aspect": round(section.view_box[2] / section.view_box[3], 4),
        "tissue": section.tissue,
        "scale_bar": section.scale_bar,
        "dominant": section.dominant,
        "has_unknown": not section.estimated.all(),
        "legend": section.legend,
        "types": list(section.types()),
        "proportion_colors": section.gradient(PROPORTION),
        "map_colors": section.gradient(MAP),
        "maps": list(section.maps()),
        "pairs": _pairs(result, on_progress),
        "evidence": _evidence(result.provenance.learned),
        "learned": _learned(result.provenance.learned),
        "given": _given(result.provenance.given),
        "versions": dict(sorted(result.provenance.versions.items())),
        "inputs": _inputs(inputs),
    }


def _laid_out(result: Result) -> Result:
    """Return a result with abundances that are contiguous in memory.

    The last digits of sums depend on the layout, and a result from a file must give the same bytes.
    """
    table = result.abundances
    values = np.ascontiguousarray(table.to_numpy(dtype=float))
    return replace(result, abundances=pd.DataFrame(values, index=table.index, columns=table.columns))


def facts_of(result: Result) -> list[Fact]:
    """Return the most important numbers of a run."""
    estimated = result.dominant.notna()
    n_genes = result.provenance.learned.n_genes_used
    facts = [
        Fact("Spots estimated", f"{int(estimated.sum()):,}", f"of {len(estimated):,}"),
        Fact("Cell types", f"{len(result.cell_types):,}"),
        Fact("Genes used", "–" if n_genes is None else f"{n_genes:,}"),
        Fact("Median counts per spot", f"{result.counts[estimated].median():,.0f}", "of the genes used"),
    ]
    if not result.unexplained.isna().all():
        facts.append(
            Fact("Median unexplained share", percent(result.unexplained.median()), "of a spot's counts")
        )
    error = _median_error(result)
    if error == error:
        facts.append(Fact("Median standard error", f"± {percent(error)}", "of a spot's dominant type"))
    return facts


def _median_error(result: Result) -> float:
    """Return the median standard error of the dominant types; NaN if unknown."""
    errors = result.dominant_error.dropna()
    return float(errors.median()) if len(errors) else float("nan")


# ---------------------------------------------------------------------------------------------------- maps


class _SectionPage:
    """The maps of a section, all on the same pixels."""

    def __init__(self, result: Result, on_progress: ProgressCallback) -> None:
        self.result, self.on_progress = result, on_progress
        self.rule = rule_of(result)
        self.scene: FigureScene = self._cancellable(lambda: scene_of(result))
        proportions = self._cancellable(lambda: result.proportions)
        self.shares: Floats = self._cancellable(lambda: proportions.to_numpy(dtype=float)[self.scene.spots])
        self.estimated = ~np.isnan(self.shares).any(axis=1)
        self._progress()
        self.tissue: Box | None = tissue_picture(self.scene)
        self._progress()
        self._sides = self._cancellable(lambda: bin_sides(result.spatial))
        self._small = self._raster(_SMALL)

    def _progress(self, done: int = 0, total: int = 1) -> None:
        self.on_progress(Progress(_STAGE, done, total))

    def _cancellable(self, work: Callable[[], _T]) -> _T:
        """Return the result of work that takes long for a million spots, and can be cancelled."""
        return run_cancellable(work, _STAGE, self.on_progress)

    def _raster(self, longest: int) -> Raster:
        return rasterize(self.scene, self._sides, longest, _STAGE, self.on_progress)

    @property
    def view_box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the maps."""
        left, top, right, bottom = self.scene.region
        return left, top, right - left, bottom - top

    @property
    def scale_bar(self) -> tuple[float, str]:
        """Length of the bar as a share of a map's width, and its label."""
        microns = microns_per_pixel(self.result.spatial)
        width = self.view_box[2] * (microns or 1.0)
        length = round_length(width / 4)
        return length / width, length_words(length, microns is not None)

    @property
    def legend(self) -> list[tuple[str, str, int]]:
        """Name, color and number of spots of each dominant type, the most frequent first."""
        number = self.result.dominant.value_counts()
        colors = self.result.colors
        order = sorted(self.result.cell_types, key=lambda name: -number[name])
        return [(name, colors[name], int(number[name])) for name in order if number[name] > 0]

    @property
    def dominant(self) -> Map:
        """Each spot in the color of its dominant type."""
        codes = self.result.dominant.cat.codes.to_numpy()[self.scene.spots]
        colors = list(self.result.colors.values())
        codes = np.where(codes < 0, len(colors), codes)
        first = "; ".join(f"{name} in {number:,}" for name, _, number in self.legend[:3])
        words = f"Map of the section, each spot in the color of its dominant cell type. Most spots: {first}."
        table = np.vstack([to_rgba_array(colors), _NOT_ESTIMATED])
        raster = self._raster(_LARGE)
        self._progress()
        return Map(painted(raster, codes, table), words)

    def types(self) -> Iterator[dict[str, Any]]:
        """Yield the content of each type, the most abundant first."""
        self._progress()
        result, means = self.result, self.result.mean_proportions
        number, colors = result.dominant.value_counts(), result.colors
        tops = ends_of_types(result, result.cell_types, self.rule)
        for done, name in enumerate(sorted(result.cell_types, key=lambda name: -float(means[name]))):
            self._progress(done, len(means))
            values = self.shares[:, result.cell_types.index(name)]
            known = values[self.estimated]
            low, high = np.quantile(known, (0.1, 0.9)) if len(known) else (np.nan, np.nan)
            top = tops[name]
            yield {
                "name": name,
                "color": colors[name],
                "mean": float(means[name]),
                "low": float(low),
                "high": float(high),
                "number": int(number[name]),
                "top": top,
                "map": Map(self._values(values, top, PROPORTION), self._words(name, values)),
            }

    def maps(self) -> Iterator[dict[str, Any]]:
        """Yield a map and a histogram of the depth and of the unexplained share."""
        kinds: list[tuple[str, str, Callable[[float], str]]] = [
            ("Counts per spot", "counts", "{:,.0f}".format)
        ]
        if not self.result.unexplained.isna().all():
            kinds.append(("Unexplained share of counts", "unexplained", percent))
        for name, feature, words in kinds:
            self._progress()
            values = getattr(self.result, feature).to_numpy(dtype=float)[self.scene.spots]
            known = values[self.estimated & ~np.isnan(values)]
            top = end_of_map(self.result, feature, self.rule)
            middle = words(float(np.median(known))) if len(known) else "–"
            ninth = self._ninth(values)
            yield {
                "name": name,
                "map": Map(
                    self._values(values, top, MAP),
                    f"Map of {name.lower()}: median {middle}{f', highest in the {ninth}' if ninth else ''}.",
                ),
                "top": words(top),
                "median": middle,
                "bars": _histogram(known, top),
            }

    def _values(self, values: Floats, top: float, colormap: str) -> str:
        known = self.estimated & ~np.isnan(values)
        level = np.rint(np.clip(np.nan_to_num(values) / top, 0, 1) * (_STEPS - 1)).astype(int)
        colors = colormap_of(colormap, over_tissue=self.tissue is not None)(np.linspace(0, 1, _STEPS))
        codes = np.where(known, level, _STEPS)
        return painted(self._small, codes, np.vstack([colors, _NOT_ESTIMATED]))

    def gradient(self, colormap: str) -> str:
        """Return the colors of the maps as the stops of a gradient in CSS."""
        colors = colormap_of(colormap, over_tissue=self.tissue is not None)(np.linspace(0, 1, 9))
        return ", ".join(to_hex(color, keep_alpha=True) for color in colors)

    def _words(self, name: str, values: Floats) -> str:
        known = values[self.estimated]
        if not len(known) or known.max() < 0.0005:
            return f"Map of {name}: in no spot."
        ninth = self._ninth(values)
        where = f", most of it in the {ninth}" if ninth else ""
        return f"Map of {name}: {percent(known.mean())} on average, at most {percent(known.max())}{where}."

    def _ninth(self, values: Floats) -> str:
        """Return which ninth of the section has the highest mean; "" for too few spots."""
        known = self.estimated & ~np.isnan(values)
        left, top, width, height = self.view_box
        ninth = np.clip((3 * (self.scene.xy - (left, top)) / (width, height)).astype(int), 0, 2) @ (1, 3)
        number = np.bincount(ninth[known], minlength=9)
        sums = np.bincount(ninth[known], weights=values[known], minlength=9)
        means = np.where(number >= max(3, 0.02 * known.sum()), sums / np.maximum(number, 1), -1.0)
        row, column = divmod(int(means.argmax()), 3)
        words = (("upper", "middle", "lower")[row], ("left", "middle", "right")[column])
        if means.max() <= 0:
            return ""
        return "middle" if words == ("middle", "middle") else " ".join(words)


def _histogram(values: Floats, top: float) -> list[tuple[int, float]]:
    """Return index and height, 0 to 1, of bars that are not empty; the last has all values above `top`."""
    number, _ = np.histogram(np.clip(values, 0, top), bins=_N_BARS, range=(0.0, top))
    return [(at, round(n / number.max(), 4)) for at, n in enumerate(number.tolist()) if n]


# --------------------------------------------------------------------------------------------------- pairs


def _pairs(result: Result, on_progress: ProgressCallback) -> dict[str, Any] | None:
    """Return the colocalization of each pair of types, or None without neighbors."""
    if not result.edges.nnz:
        return None
    found = bivariate_moran(
        result.proportions.to_numpy(),
        result.edges,
        on_block=lambda _: on_progress(Progress("Comparing neighbors", 0, 1)),
    )
    is_sure = np.abs(np.nan_to_num(found.z)) >= BY_CHANCE
    names = result.cell_types
    upper = np.triu_indices(len(names), k=1)
    sure = [(i, j) for i, j in zip(*upper, strict=True) if is_sure[i, j]]
    sure.sort(key=lambda pair: -float(found.observed[pair]))
    listed = [(names[i], names[j], float(found.observed[i, j])) for i, j in sure]
    return {
        "names": names,
        "rows": [
            [_cell(float(found.observed[i, j]), bool(is_sure[i, j]), i == j) for j in range(len(names))]
            for i in range(len(names))
        ],
        "together": [one for one in listed if one[2] > 0][:_MOST_PAIRS],
        "apart": [one for one in reversed(listed) if one[2] < 0][:_MOST_PAIRS],
    }


def _cell(value: float, is_sure: bool, is_diagonal: bool) -> dict[str, Any]:
    color = pair_color(value) if is_sure and not is_diagonal else ""
    text = f"{value:.2f}".replace("-", "−") if is_sure else ""
    return {"text": text, "color": color, "is_dark": bool(color) and _is_dark(color)}


def _is_dark(color: str) -> bool:
    """Return whether white text is easier to read on a color than black text, by WCAG's luminance."""
    parts = np.array(list(bytes.fromhex(color[1:]))) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return bool(linear @ (0.2126, 0.7152, 0.0722) < 0.179)


# ---------------------------------------------------------------------------------------------- parameters


def _evidence(learned: Learned) -> dict[str, Any]:
    """Return the ways to smooth that were tried, the best first, and what supports each part of the model."""
    evidence = learned.evidence
    rows = [
        {
            "name": _CANDIDATES.get(name, name),
            "loss": one.loss,
            "gain": one.gain,
            "error": one.standard_error,
            "is_chosen": name == evidence.chosen,
        }
        for name, one in sorted(evidence.candidates.items(), key=lambda item: (item[1].loss, item[0]))
    ]
    return {"rows": rows, "reason": evidence.reason, "parts": _parts(learned.data_term)}


def _parts(found: Mapping[str, PartEvidence]) -> list[dict[str, Any]]:
    """Return what supports each further part of the model."""
    return [
        {"name": label, "gain": part.gain, "error": part.error, "is_used": part.is_used}
        for name, label in _PARTS.items()
        if (part := found.get(name)) is not None and part.gain is not None and part.error is not None
    ]


def _used(found: Mapping[str, Any]) -> bool:
    """Return whether a part of the model is used; in results of earlier versions kappa is called strength."""
    return bool(found.get("used", found.get("kappa", found.get("strength", 0.0))))


def _holds(one: Any, *names: str) -> bool:
    return isinstance(one, Mapping) and set(names) <= set(one)


#: What is shown of what was learned, and its labels.
_LEARNED = {
    "layout": "Layout of the spots",
    "n_edges": "Pairs of neighbors",
    "lambda_c": "Smoothness",
    "alpha": "Distance decay",
    "attention_sharpness": "Attention sharpness",
    "cell_variation": "Within-type variability",
    "platform_effect": "Gene factors",
    "mean_explained": "Mean explained share of counts",
    "n_sweeps": "Sweeps of the solver",
    "violation": "Violation of the optimality conditions",
}


def _learned(learned: Learned) -> list[tuple[str, Any]]:
    values = learned.as_dict()
    return [(label, values[name]) for name, label in _LEARNED.items() if name in values]


def _given(given: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return label, name and value of each parameter, those of reading first.

    Files keep neither the order of the parameters nor those that are None.
    """
    labels = {info.name: info.label for info in describe()}
    names = [
        *sorted(name for name, value in given.items() if name not in labels and value is not None),
        *(name for name in labels if name != "n_threads"),
    ]
    return [(labels.get(name, ""), name, _plain(given.get(name))) for name in names]


def _inputs(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the files of each role, if the recipe, which may have been edited, has them."""
    return [
        {
            "role": role,
            "path": str(one.get("path", "")),
            "settings": [(name, value) for name, value in one.items() if name not in ("path", "files")],
            "files": [file for file in one["files"] if _holds(file, "name", "bytes", "sha256")],
        }
        for role, one in inputs.items()
        if _holds(one, "files")
    ]


def _plain(value: Any) -> Any:
    """Return a value as Python's own: no NumPy, no tuples."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
