"""How a result came about: what was given, what was learned, and with which versions.

Files hold it as nested dictionaries, which `Provenance.from_dict` reads and `Provenance.as_dict` returns.
This is the only place that knows their keys, and those of older versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from napari_spotmix.base.errors import InputError
from napari_spotmix.params import RENAMED, RENAMED_LEARNED, Parameters, describe

__all__ = ["TriedSmoothing", "Change", "Evidence", "Learned", "PartEvidence", "Provenance"]

#: Keys of older versions and what they are called now.
_RENAMED_SMOOTHING: Mapping[str, str] = {"strength": "smoothness"}
_RENAMED_PART: Mapping[str, str] = {"strength": "kappa"}

_T = TypeVar("_T")
Read = Callable[[Any], Any]


# ------------------------------------------------------------------------------------ values of one kind
# Each returns a value as Python's own, or None if it is not of the kind.


def _number(value: Any) -> float | None:
    is_truth = isinstance(value, bool | np.bool_)
    try:
        return float(value) if not is_truth and isinstance(value, Real) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def _whole(value: Any) -> int | None:
    is_truth = isinstance(value, bool | np.bool_)
    return int(value) if not is_truth and isinstance(value, Integral) else None


def _flag(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) else None


def _all_of(read: Callable[[Any], _T | None]) -> Callable[[Any], tuple[_T, ...] | None]:
    """Return what reads a list, or the array that a file makes of it, of values of one kind."""

    def read_all(values: Any) -> tuple[_T, ...] | None:
        if not isinstance(values, list | tuple) and not (isinstance(values, np.ndarray) and values.ndim == 1):
            return None
        found = [one for value in values if (one := read(value)) is not None]
        return tuple(found) if len(found) == len(values) else None

    return read_all


def _read(read: Read, default: Any = None) -> Any:
    """Return a field whose value in a file is read by `read`, and is `default` if that returns None."""
    return field(default=default, metadata={"read": read})


def _values(cls: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass's fields that are in a file, and of the right kind there."""
    readers: dict[str, Read] = {one.name: one.metadata["read"] for one in fields(cls)}
    found = {name: read(given[name]) for name, read in readers.items() if name in given}
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return a field's value as files hold it."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value.as_dict() if isinstance(value, _Stored | Evidence) else value


class _Stored:
    """A dataclass that is stored as a dictionary, without the fields that are None."""

    def as_dict(self) -> dict[str, Any]:
        """Return what files hold."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        return {name: _plain(value) for name, value in found.items() if value is not None}


# --------------------------------------------------------------------------------------- what was learned


@dataclass(frozen=True)
class TriedSmoothing(_Stored):
    """A way to smooth, and how well it predicted held-out genes.

    Attributes
    ----------
    loss : float
        Negative log-likelihood of the held-out genes, in nats per spot.
    gain, standard_error : float
        Gain over the simplest way, in nats per spot, and its standard error.
    smoothness, alpha, sharpness, ridge, spread : float
    metric : tuple of float, length n_cell_types or 0
        The smoothing itself, as in `model.learning.heldout.Smoothing`; `sharpness` is 0 without attention.
    """

    loss: float = _read(_number, np.nan)
    gain: float = _read(_number, np.nan)
    standard_error: float = _read(_number, np.nan)
    smoothness: float = _read(_number, 0.0)
    alpha: float = _read(_number, 0.0)
    sharpness: float = _read(_number, 0.0)
    ridge: float = _read(_number, 0.0)
    spread: float = _read(_number, 1.0)
    metric: tuple[float, ...] = _read(_all_of(_number), ())


def _candidate(value: Any) -> TriedSmoothing | None:
    found = _values(TriedSmoothing, _renamed(value, _RENAMED_SMOOTHING))
    return TriedSmoothing(**found) if {"loss", "gain", "standard_error"} <= set(found) else None


@dataclass(frozen=True)
class Evidence:
    """The ways to smooth that were tried.

    Attributes
    ----------
    candidates : dict of str to TriedSmoothing
        By name, in the order in which they were tried; empty if the smoothing was given.
    chosen : str
        Name of the one that was taken.
    reason : str
        Why, in a sentence.
    """

    candidates: Mapping[str, TriedSmoothing] = field(default_factory=dict)
    chosen: str = ""
    reason: str = ""

    @property
    def best_attention(self) -> TriedSmoothing | None:
        """The candidate with attention that predicted held-out genes best, chosen or not, or None."""
        tried = [one for one in self.candidates.values() if one.sharpness > 0]
        return min(tried, key=lambda one: one.loss, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return what files hold: the candidates by name, plus ``chosen`` and ``reason``."""
        found: dict[str, Any] = {name: one.as_dict() for name, one in self.candidates.items()}
        texts = {"chosen": self.chosen, "reason": self.reason}
        return found | {name: text for name, text in texts.items() if text}


def _evidence(value: Any) -> Evidence | None:
    if not isinstance(value, Mapping):
        return None
    candidates = {str(name): found for name, one in value.items() if (found := _candidate(one)) is not None}
    return Evidence(candidates, _text(value.get("chosen")) or "", _text(value.get("reason")) or "")


@dataclass(frozen=True)
class PartEvidence(_Stored):
    """Whether a part of the data term was used, and what supports it.

    Attributes
    ----------
    used : bool or None
    kappa : float or None
        The within-type variability; 0 if it was not used.
    estimate : float or None
        Of the overdispersion: ``phi``.
    gain, error : float or None
        Gain over a model without the part, in nats per spot, and its standard error.
    explained : float or None
        Of the platform effect: mean share of the counts that is explained with it.
    weight : float or None
        Of logarithmic residuals and the platform effect, from 0 to 1.
    """

    used: bool | None = _read(_flag)
    kappa: float | None = _read(_number)
    estimate: float | None = _read(_number)
    gain: float | None = _read(_number)
    error: float | None = _read(_number)
    explained: float | None = _read(_number)
    weight: float | None = _read(_number)

    @property
    def is_used(self) -> bool:
        """Whether the part is in the model."""
        return bool(self.kappa) if self.used is None else self.used


def _parts(value: Any) -> Mapping[str, PartEvidence] | None:
    if not isinstance(value, Mapping):
        return None
    tables = {
        str(name): _renamed(one, _RENAMED_PART) for name, one in value.items() if isinstance(one, Mapping)
    }
    return {name: PartEvidence(**_values(PartEvidence, table)) for name, table in tables.items()}


@dataclass(frozen=True)
class Change(_Stored):
    """What `Result.refit` has changed.

    Attributes
    ----------
    lambda_c : float
    without : tuple of str
        All cell types that were left out, also by a refit before.
    """

    lambda_c: float = _read(_number, np.nan)
    without: tuple[str, ...] = _read(_all_of(_text), ())


def _change(value: Any) -> Change | None:
    return Change(**_values(Change, value)) if isinstance(value, Mapping) else None


@dataclass(frozen=True)
class Learned(_Stored):
    """What was chosen or estimated from the data; None for what an older file does not hold.

    Attributes
    ----------
    lambda_c, lambda_r : float or None
        Smoothness and ridge penalty.
    alpha : float or None
        Decay of edge weights with squared distance, in pitches.
    attention_sharpness : float or None
        0 without attention.
    evidence : Evidence
        The ways to smooth that were tried.
    layout : str or None
        Of the spots: "hexagonal", "square" or "knn".
    pitch_px : float or None
        Distance of neighbors, in full-resolution pixels.
    n_genes_used, n_spots_fitted, n_edges : int or None
    precision_unit : float or None
        Mean precision of the data term, by which the penalties are scaled.
    n_sweeps : int or None
        Of the solver in the last fit.
    violation : float or None
        What is left of the optimality conditions.
    mean_explained : float or None
        Mean sum of a spot's abundances.
    cell_variation : float or None
        ``kappa``, the within-type variability in the data term.
    overdispersion : float or None
        ``phi``.
    log_residuals : float or None
        Weight of residuals on a logarithmic scale, from 0 to 1.
    data_term : dict of str to PartEvidence
        By part: ``cell_variation``, ``log_residuals``, ``platform_effect``, ``overdispersion``.
    rna_content, rna_content_trust : tuple of float, length n_cell_types, or None
        RNA of a cell relative to a typical type, and how much the reference says of it, 0 to 1.
    platform_effect : bool or None
        Whether genes have factors for the difference between technologies.
    cell_share : float or None
        Mean share of one cell in a spot.
    confusable_types : tuple of str
        Pairs that a spot of usual depth does not distinguish, "A | B".
    n_unmodeled_patches : int or None
        Patches of spots whose counts the cell types do not explain.
    refit : Change or None
        What was changed after the run.
    """

    lambda_c: float | None = _read(_number)
    lambda_r: float | None = _read(_number)
    alpha: float | None = _read(_number)
    attention_sharpness: float | None = _read(_number)
    evidence: Evidence = field(default_factory=Evidence, metadata={"read": _evidence})
    layout: str | None = _read(_text)
    pitch_px: float | None = _read(_number)
    n_genes_used: int | None = _read(_whole)
    n_spots_fitted: int | None = _read(_whole)
    n_edges: int | None = _read(_whole)
    precision_unit: float | None = _read(_number)
    n_sweeps: int | None = _read(_whole)
    violation: float | None = _read(_number)
    mean_explained: float | None = _read(_number)
    cell_variation: float | None = _read(_number)
    overdispersion: float | None = _read(_number)
    log_residuals: float | None = _read(_number)
    data_term: Mapping[str, PartEvidence] = field(default_factory=dict, metadata={"read": _parts})
    rna_content: tuple[float, ...] | None = _read(_all_of(_number))
    rna_content_trust: tuple[float, ...] | None = _read(_all_of(_number))
    platform_effect: bool | None = _read(_flag)
    cell_share: float | None = _read(_number)
    confusable_types: tuple[str, ...] | None = _read(_all_of(_text))
    n_unmodeled_patches: int | None = _read(_whole)
    refit: Change | None = field(default=None, metadata={"read": _change})

    @classmethod
    def from_dict(cls, given: Any) -> Learned:
        """Return what a dictionary of `as_dict` holds, or one of an older version; the rest is skipped.

        Examples
        --------
        >>> learned = Learned.from_dict({"lambda_c": 0.5, "n_edges": "many", "n_foreign_patches": 2})
        >>> learned.lambda_c, learned.n_edges, learned.n_unmodeled_patches
        (0.5, None, 2)
        """
        return cls(**_values(cls, _renamed(given, RENAMED_LEARNED)))


def _renamed(given: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a table of a file by the current names; empty if it is not a table."""
    table = given if isinstance(given, Mapping) else {}
    return {names.get(str(name), str(name)): value for name, value in table.items()}


# ------------------------------------------------------------------------------------------- the whole of it


@dataclass(frozen=True)
class Provenance:
    """How a result came about.

    Attributes
    ----------
    given : dict of str
        Every parameter, the label column, layer and fixes, by name; None for what was left to be learned.
    learned : Learned
    versions : dict of str to str
        Of Python and the packages that compute.
    summary : str
        The run in a sentence.

    Examples
    --------
    >>> provenance = Provenance.from_dict({"given": {"normalize": False, "n_epochs": 2}, "summary": 3})
    >>> provenance.normalize, provenance.given["n_outer_iterations"], provenance.summary
    (False, 2, '')
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    learned: Learned = field(default_factory=Learned)
    versions: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""

    @classmethod
    def from_dict(cls, tables: Any) -> Provenance:
        """Return what dictionaries as of `as_dict` hold, also those of older versions.

        Parameters
        ----------
        tables : mapping of str
            ``given``, ``learned``, ``versions``, ``summary``; each may be missing. Values of the wrong
            kind are skipped: files may have been edited.

        Raises
        ------
        InputError
            If `tables` is not a mapping.
        """
        if not isinstance(tables, Mapping):
            found = type(tables).__name__
            raise InputError(f"The parameters of the result must be a dictionary, found {found}.")
        given = _renamed(tables.get("given"), RENAMED)
        versions = _renamed(tables.get("versions"), {})
        return cls(
            given={name: _own(value) for name, value in given.items() if _is_setting(value)},
            learned=Learned.from_dict(tables.get("learned")),
            versions={name: str(version) for name, version in versions.items() if isinstance(version, str)},
            summary=_text(tables.get("summary")) or "",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what files hold: ``given``, ``learned``, ``versions`` and ``summary``."""
        return {
            "given": dict(self.given),
            "learned": self.learned.as_dict(),
            "versions": dict(self.versions),
            "summary": self.summary,
        }

    @property
    def share(self) -> str:
        """What proportions are of: "cells", or "rna" as in files that are older than this parameter."""
        return str(self._parameter("share", "rna"))

    @property
    def normalize(self) -> bool:
        """Whether counts were normalized to the same total in each spot."""
        return bool(self._parameter("normalize", True))

    @property
    def tolerance(self) -> float:
        """Violation of the optimality conditions at which the solver stops."""
        return float(self._parameter("tolerance", Parameters.tolerance))

    @property
    def max_sweeps(self) -> int:
        """Sweeps after which the solver stops."""
        return int(self._parameter("max_sweeps", Parameters.max_sweeps))

    @property
    def random_state(self) -> int:
        """The seed."""
        return int(self._parameter("random_state", Parameters.random_state))

    @property
    def layer(self) -> str | None:
        """Layer of the counts; None for ``X``."""
        return _text(self.given.get("layer"))

    @property
    def fixes(self) -> tuple[str, ...]:
        """Fixes of the input before the run, in order."""
        return _all_of(_text)(self.given.get("fix", ())) or ()

    def with_fixes(self, fixes: tuple[str, ...]) -> Provenance:
        """Return the same with other fixes."""
        return replace(self, given={**self.given, "fix": list(fixes)})

    def _parameter(self, name: str, otherwise: Any) -> Any:
        """Return a parameter; `otherwise` if it is not given, or not as it must be."""
        info = next(one for one in describe() if one.name == name)
        value = self.given.get(name)
        return otherwise if value is None or info.problem(value) else value


def _is_setting(value: Any) -> bool:
    """Return whether a value may be a parameter: text, a number, or a list of them."""
    if isinstance(value, np.ndarray | list | tuple):
        return np.ndim(np.asarray(value, dtype=object)) == 1 and all(map(_is_setting, value))
    return value is None or isinstance(value, str | bool | int | float | np.bool_ | np.integer | np.floating)


def _own(value: Any) -> Any:
    """Return a value as Python's own: no NumPy."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
