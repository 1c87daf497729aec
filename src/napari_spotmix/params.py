"""The parameters of a run: the only source of every default, unit, bound and explanation.

The form in napari, the command line and ``recipe.toml`` are made from the dataclass below;
to add a parameter, add a field here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from functools import wraps
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from napari_spotmix.base.errors import InputError

__all__ = [
    "BIN_UM",
    "GEM_BIN",
    "GraphKind",
    "INTERVAL_LEVEL",
    "LARGE_FILE",
    "MOST_NICHES",
    "N_NICHES",
    "N_SURROGATES",
    "ParameterInfo",
    "Parameters",
    "RENAMED",
    "RENAMED_LEARNED",
    "SIGNIFICANCE",
    "Share",
    "Weights",
    "current_names",
    "describe",
    "option_name",
]

Weights = Literal["poisson", "none"]
PlatformEffect = Literal["auto", "on", "off"]
Residuals = Literal["auto", "counts", "log"]
GraphKind = Literal["auto", "hexagonal", "square", "knn"]
Share = Literal["cells", "rna"]

#: Bytes of a file above which `spotmix run` leaves the counts of the spots on disk and reads them in blocks.
LARGE_FILE = 512 * 2**20

#: Options whose names are shorter than their parameters'.
_SHORT = {"random_state": "seed", "n_threads": "threads"}

#: Side of the bins, in micrometers, that are read of a run with several sizes: about one cell.
BIN_UM = 8.0

#: Default side of the bins that Stereo-seq's positions are gathered in, in positions (0.5 um).
GEM_BIN = 50

#: What stands for True and False in a text.
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

#: Whole numbers above it fit into no file, and squares of others above it are infinite.
_LARGEST: dict[type, float] = {int: 2**63 - 1, float: 1e100}


#: Names that parameters, options, columns and keys of a recipe had before, and those that they have now.
RENAMED: Mapping[str, str] = {
    "exclude_housekeeping": "exclude_mito_ribo",
    "mend": "fix",
    "n_archetypes": "n_clusters",
    "n_epochs": "n_outer_iterations",
    "sample_key": "library_key",
}

#: The same for what a result has learned.
RENAMED_LEARNED: Mapping[str, str] = {
    "n_foreign_patches": "n_unmodeled_patches",
    "resolved": "refit",
}

T = TypeVar("T")


def current_names(values: Mapping[str, T], *, stacklevel: int | None = None) -> dict[str, T]:
    """Return values by their current names, in the same order.

    Parameters
    ----------
    values : mapping
        By names of today or before.
    stacklevel : int, optional
        Frames from here to the caller's code, which a `DeprecationWarning` points to. Without it there is
        no warning: files are as old as they are.

    Raises
    ------
    InputError
        If a value is given by its old name and its new one; lists all of them.

    Examples
    --------
    >>> current_names({"n_epochs": 2, "lambda_c": 0.3})
    {'n_outer_iterations': 2, 'lambda_c': 0.3}
    """
    old = [name for name in values if name in RENAMED]
    if both := [name for name in old if RENAMED[name] in values]:
        raise InputError(
            [
                f"`{name}` is the old name of `{RENAMED[name]}`, and both are given. Give only "
                f"`{RENAMED[name]}`."
                for name in both
            ]
        )
    if stacklevel is not None:
        for name in old:
            words = f"`{name}` is now called `{RENAMED[name]}`. Use the new name."
            warnings.warn(words, DeprecationWarning, stacklevel=stacklevel + 1)
    return {RENAMED.get(name, name): value for name, value in values.items()}


def _taking_old_names(cls: type[T]) -> type[T]:
    """Let a dataclass be made with old keywords, with a warning for each."""
    init: Callable[..., None] = cls.__init__

    @wraps(init)
    def made(self: Any, *values: Any, **keywords: Any) -> None:
        init(self, *values, **current_names(keywords, stacklevel=2))

    setattr(cls, "__init__", made)  # noqa: B010  (mypy lets nobody assign to a method)
    return cls


def _parameter(
    default: Any,
    label: str,
    help: str,
    *,
    group: str,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    advanced: bool = True,
) -> Any:
    return field(
        default=default,
        metadata={
            "label": label,
            "help": help,
            "group": group,
            "minimum": minimum,
            "maximum": maximum,
            "unit": unit,
            "advanced": advanced,
        },
    )


#: Niches of a tissue. Compositions change gradually, and criteria that choose a number of clusters then take
#: two, or as many as they are offered; a map shows six in colors that are distinguished at once.
N_NICHES = 6
MOST_NICHES = 20

#: Level of all intervals: of the proportions of a spot, and of the means of a region.
INTERVAL_LEVEL = 0.90
#: A difference between regions is named if its adjusted p value is below.
SIGNIFICANCE = 0.05
#: Fields that are drawn to judge a difference between regions; the least p value is 1 / (1 + N_SURROGATES).
N_SURROGATES = 999


@_taking_old_names
@dataclass(frozen=True)
class Parameters:
    """All parameters of a deconvolution; every one has a default that suits most sections.

    Raises
    ------
    InputError
        If a value is of the wrong kind or out of bounds; lists every such parameter.

    Examples
    --------
    >>> Parameters().weights
    'poisson'
    >>> Parameters(lambda_c=-1.0, n_outer_iterations=-2)
    Traceback (most recent call last):
    napari_spotmix.base.errors.InputError: 2 problems:
      1. `lambda_c` must be at least 0, found -1.0.
      2. `n_outer_iterations` must be at least 0, found -2.
    """

    n_genes: int = _parameter(
        5000,
        "Genes",
        "Use at most this many genes, the most informative about cell types; 0 uses all shared genes.",
        group="Genes",
        minimum=0,
        unit="genes",
    )
    exclude_mito_ribo: bool = _parameter(
        True,
        "Exclude mito/ribo genes",
        "Exclude mitochondrial and ribosomal-protein genes (by symbol: mt-, MT-, Rps, Rpl ...), whose "
        "levels differ more between technologies than between cell types.",
        group="Genes",
    )
    weights: Weights = _parameter(
        "poisson",
        "Weights",
        "How counts are weighted: 'poisson' by their precision under the model, "
        "'none' for plain least squares (the stated objective, unchanged).",
        group="Data term",
    )
    normalize: bool = _parameter(
        True,
        "Normalize",
        "Divide the counts of each spot by their total, so that abundances sum to about 1.",
        group="Data term",
    )
    residuals: Residuals = _parameter(
        "auto",
        "Residuals",
        "How the difference between a count and the model is measured: 'counts' as it is, 'log' on a "
        "logarithmic scale, so that genes that the reference has wrong count less. "
        "'auto': weighted by how well held-out genes are then predicted.",
        group="Data term",
    )
    platform_effect: PlatformEffect = _parameter(
        "auto",
        "Platform effect",
        "Estimate one factor per gene for the difference between the technologies of tissue and reference. "
        "'auto': weighted by how well held-out genes are then predicted.",
        group="Data term",
    )
    overdispersion: float | None = _parameter(
        None,
        "Overdispersion",
        "Variance of a count beyond Poisson, as a multiple of its squared mean; 0 is Poisson. "
        "Empty: learned, and used if held-out genes are predicted better with it.",
        group="Data term",
        minimum=0,
    )
    cell_variation: float | None = _parameter(
        None,
        "Within-type variability",
        "How much expression varies within a cell type from spot to spot (kappa), as the inverse of an "
        "effective number of cells per spot; 0 ignores it. Empty: learned from the spots.",
        group="Data term",
        minimum=0,
        maximum=100,
    )
    n_clusters: int = _parameter(
        32,
        "Composition clusters",
        "Number of clusters of spots with similar composition that share their weights.",
        group="Data term",
        minimum=1,
        maximum=1024,
    )
    share: Share = _parameter(
        "cells",
        "Proportions of",
        "What proportions are shares of: 'cells' (shares of RNA divided by the RNA content of each type's "
        "cells, if the reference's totals can be trusted) or 'rna' (as fitted).",
        group="Data term",
    )
    lambda_c: float | None = _parameter(
        None,
        "Smoothness",
        "How much spots are smoothed over their neighbors (lambda_c). 0 switches smoothing off; at 1 a "
        "neighbor weighs as much as the spot's own counts. Empty: learned from held-out genes.",
        group="Space",
        minimum=0,
        advanced=False,
    )
    lambda_r: float | None = _parameter(
        None,
        "Ridge",
        "How much all abundances are shrunk toward zero (lambda_r). Empty: learned from held-out genes.",
        group="Space",
        minimum=0,
    )
    alpha: float | None = _parameter(
        None,
        "Distance decay",
        "Decay of an edge's weight with squared distance (alpha), distance in spot pitches. "
        "Empty: learned from held-out genes.",
        group="Space",
        minimum=0,
        unit="per pitch squared",
    )
    graph: GraphKind = _parameter(
        "auto",
        "Neighbors",
        "Which spots are neighbors: six around (hexagonal), eight around (square), "
        "the nearest n (knn), or chosen from the layout (auto).",
        group="Space",
    )
    n_neighbors: int = _parameter(
        6,
        "Number of neighbors",
        "Number of nearest spots that are neighbors of each spot if the spots are not on a grid.",
        group="Space",
        minimum=1,
        maximum=64,
    )
    attention: bool = _parameter(
        True,
        "Attention",
        "Allow weaker edges between spots of different composition, so that borders stay sharp.",
        group="Space",
        advanced=False,
    )
    attention_sharpness: float | None = _parameter(
        None,
        "Attention sharpness",
        "How fast attention decreases with the difference between two spots' compositions. "
        "Empty: learned from held-out genes.",
        group="Space",
        minimum=0,
    )
    n_outer_iterations: int = _parameter(
        3,
        "Outer iterations",
        "How many times attention is re-estimated from the current proportions.",
        group="Space",
        minimum=0,
        maximum=100,
    )
    tolerance: float = _parameter(
        3e-4,
        "Tolerance",
        "Stop when the optimality conditions are violated by less than this, relative to the largest "
        "abundance.",
        group="Solver",
        minimum=1e-14,
        maximum=1,
    )
    max_sweeps: int = _parameter(
        1000,
        "Maximum sweeps",
        "Stop, with a warning, after this many sweeps over the spots.",
        group="Solver",
        minimum=1,
    )
    random_state: int = _parameter(
        0,
        "Seed",
        "Random seed of niches and of comparisons of regions. The fit itself draws nothing at random.",
        group="Solver",
        minimum=0,
    )
    n_threads: int = _parameter(
        0,
        "Threads",
        "Number of threads; 0 uses every core. The result does not depend on it.",
        group="Solver",
        minimum=0,
        maximum=1024,
    )

    def __post_init__(self) -> None:
        known = list(describe(Parameters))
        problems = [text for info in known if (text := info.problem(getattr(self, info.name)))]
        if problems:
            raise InputError(problems)
        for info in known:
            object.__setattr__(self, info.name, info.plain(getattr(self, info.name)))

    def as_dict(self) -> dict[str, Any]:
        """Return the parameters as a plain dictionary, in order."""
        return asdict(self)


@dataclass(frozen=True)
class ParameterInfo:
    """The description of one parameter, for forms and the command line."""

    name: str
    label: str
    help: str
    group: str
    kind: type
    default: Any
    optional: bool
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    unit: str
    advanced: bool

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None."""
        if value is None and self.optional:
            return None
        if self.choices:
            allowed = ", ".join(repr(choice) for choice in self.choices)
            return (
                None if value in self.choices else f"`{self.name}` must be one of {allowed}, found {value!r}."
            )
        if self.kind is bool:
            return (
                None if isinstance(value, bool) else f"`{self.name}` must be True or False, found {value!r}."
            )
        if not self._is_number(value):
            noun = "a whole number" if self.kind is int else "a finite number"
            return f"`{self.name}` must be {noun}, found {value!r}."
        number = int(value) if isinstance(value, Integral) else float(value)
        if self.minimum is not None and number < self.minimum:
            return f"`{self.name}` must be at least {self.minimum}, found {value!r}."
        maximum = _LARGEST[self.kind] if self.maximum is None else self.maximum
        if number > maximum:
            return f"`{self.name}` must be at most {maximum}, found {value!r}."
        return None

    def parsed(self, text: str) -> Any:
        """Return the value that a text stands for; if there is none, the text, which `problem` then names.

        Examples
        --------
        >>> infos = {info.name: info for info in describe()}
        >>> infos["lambda_c"].parsed("0.5"), infos["attention"].parsed("no"), infos["n_genes"].parsed("many")
        (0.5, False, 'many')
        """
        if self.choices:
            return text
        if self.kind is bool:
            return _TRUTH.get(text.lower(), text)
        try:
            return self.kind(text)
        except ValueError:
            return text

    def plain(self, value: Any) -> Any:
        """Return an allowed value as it is stored: 1 and NumPy's numbers as Python's of this kind.

        Files hold no other numbers, and compiled functions distinguish whole numbers from others.
        """
        return self.kind(value) if self.kind in _LARGEST and value is not None else value

    def _is_number(self, value: Any) -> bool:
        if isinstance(value, bool):
            return False
        if isinstance(value, Integral):
            return True
        return self.kind is float and isinstance(value, Real) and math.isfinite(value)


def describe(parameters: type[Parameters] = Parameters) -> Iterator[ParameterInfo]:
    """Yield the description of each parameter, in order.

    Examples
    --------
    >>> [info.name for info in describe() if not info.advanced]
    ['lambda_c', 'attention']
    """
    hints = get_type_hints(parameters)
    for item in fields(parameters):
        yield _info(item, hints[item.name])


def _info(item: Field[Any], hint: Any) -> ParameterInfo:
    arguments = get_args(hint)
    optional = get_origin(hint) in (Union, UnionType) and type(None) in arguments
    if optional:
        hint = next(argument for argument in arguments if argument is not type(None))
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return ParameterInfo(
        name=item.name,
        kind=str if choices else hint,
        default=item.default,
        optional=optional,
        choices=choices,
        **item.metadata,
    )


def option_name(name: str) -> str:
    """Return the name of a parameter on the command line.

    Examples
    --------
    >>> option_name("lambda_c"), option_name("random_state")
    ('--lambda-c', '--seed')
    """
    return "--" + _SHORT.get(name, name).replace("_", "-")
