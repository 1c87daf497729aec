"""What the data term consists of, by how well held-out genes are predicted.

Two parts make up for a reference that is wrong: logarithmic residuals
(:mod:`napari_spotmix.model.log_residuals`) and the platform effect. Neither is switched on or off: each gets
a weight from 0 to 1, so that no decision hangs on the noise of a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from napari_spotmix.model.learning.heldout import HeldOutGenes, Smoothing
from napari_spotmix.model.learning.selection import standard_error
from napari_spotmix.model.overdispersion import OverdispersionEvidence

__all__ = [
    "HALF",
    "PLAUSIBLE_SHARE",
    "PartsTrial",
    "PlatformEvidence",
    "ResidualEvidence",
    "is_clear",
    "judge_overdispersion",
    "judge_parts",
    "try_parts",
    "weight_of",
]

Array = NDArray[np.float64]

#: Mean explained share that a platform effect must leave; outside, its factors stand in for cell types.
#: One that is used by default must stay within the second bounds.
PLAUSIBLE_SHARE, _CAUTIOUS_SHARE = (0.7, 1.4), (1 / 1.15, 1.15)
#: Power of factors with full weight. A gene's observed over expected counts hold what the technology and what
#: the shares of types have wrong; nothing distinguishes the two, so the logarithm is shared between them.
HALF = 0.5
#: A gain is clear at two standard errors; below one, a part is left out.
_CLEAR, _LEAST = 2.0, 1.0
#: No more evidence is asked for about a part that has no weight, or at least this one.
_SURE = 0.95


@dataclass(frozen=True)
class ResidualEvidence:
    """How much residuals on a logarithmic scale improve the prediction of held-out genes.

    Attributes
    ----------
    weight : float
        Of logarithmic residuals; 0 leaves counts as they are.
    gain, error : float
        How much better held-out genes are predicted with a weight of 1, per spot in nats, and the standard
        error over genes.
    """

    weight: float
    gain: float
    error: float

    @property
    def used(self) -> bool:
        """Whether the part is in the model."""
        return self.weight > 0


@dataclass(frozen=True)
class PlatformEvidence:
    """How much factors for the difference between technologies improve the prediction of held-out genes.

    Attributes
    ----------
    weight : float
        Of the factors, whose power is half of it; 0 leaves them out.
    gain, error : float
        How much better genes that were held out are predicted, with factors for the others only, per spot in
        nats, and the standard error over genes.
    explained : float
        Mean share of the counts that is explained with factors.
    """

    weight: float
    gain: float
    error: float
    explained: float

    @property
    def used(self) -> bool:
        """Whether the part is in the model."""
        return self.weight > 0


def weight_of(gain: float, error: float) -> float:
    """Return the weight of a part of the model by its gain: about one half at two standard errors.

    It is the probability that a gain which is known with this error exceeds two errors, less what that is at
    one error. So it changes little if the gain does, and what gains nothing clear is left out.

    Examples
    --------
    >>> [round(weight_of(gain, 1.0), 2) for gain in (0.0, 1.0, 2.0, 3.0, 5.0)]
    [0.0, 0.0, 0.41, 0.81, 1.0]
    """
    if error <= 0:
        return float(gain > 0)
    least = ndtr(_LEAST - _CLEAR)
    return float(max(ndtr(gain / error - _CLEAR) - least, 0.0) / (1.0 - least))


class PartsTrial(NamedTuple):
    """How well each gene was predicted, for one way to split the genes, with and without each part.

    Attributes
    ----------
    scores : dict
        By whether residuals are logarithmic and whether there are factors, float64 (n_genes,) each.
    explained : float
        Mean share of the counts that is explained with factors.
    """

    scores: dict[tuple[bool, bool], Array]
    explained: float


def try_parts(tried: dict[tuple[bool, bool], HeldOutGenes], smoothing: Smoothing) -> PartsTrial:
    """Fit and score every state; the folds are the same, and all predict with plain signatures."""
    scores = {state: genes.gene_scores(smoothing) for state, genes in tried.items()}
    explained = [genes.mean_explained() for (_, factors), genes in tried.items() if factors]
    return PartsTrial(scores, float(np.mean(explained or [1.0])))


def judge_parts(trials: Sequence[PartsTrial]) -> tuple[ResidualEvidence | None, PlatformEvidence | None]:
    """Compare fits with and without logarithmic residuals, and with and without platform factors.

    Parameters
    ----------
    trials : sequence of PartsTrial
        Of the same states, one for each way to split the genes. A part of which there is one state only is
        not judged.

    Notes
    -----
    The gain of a part is its mean over the states of the other one. So neither is credited with what the
    other would repair as well, and the order does not matter.
    """
    scores = {state: np.mean([one.scores[state] for one in trials], axis=0) for state in trials[0].scores}
    explained = np.mean([one.explained for one in trials])
    residuals, factors = (_gain(scores, part) for part in (0, 1))
    return (
        None if residuals is None else ResidualEvidence(weight_of(*residuals), *residuals),
        None if factors is None else _platform_evidence(*factors, float(explained)),
    )


def is_clear(*evidence: ResidualEvidence | PlatformEvidence | None) -> bool:
    """Return whether another split of the genes would hardly change a weight."""
    return all(part is None or part.weight == 0 or part.weight >= _SURE for part in evidence)


def _gain(scores: dict[tuple[bool, bool], Array], part: int) -> tuple[float, float] | None:
    """Return the gain of one part and its standard error over genes; None if it has one state only."""
    with_it = [found for state, found in scores.items() if state[part]]
    without = [found for state, found in scores.items() if not state[part]]
    if not with_it or not without:
        return None
    gain = np.mean(with_it, axis=0) - np.mean(without, axis=0)
    return float(gain.sum()), float(gain.std() * np.sqrt(len(gain)))


def _platform_evidence(gain: float, error: float, explained: float) -> PlatformEvidence:
    low, high = _CAUTIOUS_SHARE
    weight = weight_of(gain, error) if low <= explained <= high else 0.0
    return PlatformEvidence(weight, gain, error, explained)


def judge_overdispersion(
    plain: HeldOutGenes, dispersed: HeldOutGenes, smoothing: Smoothing, estimate: float
) -> OverdispersionEvidence:
    """Compare fits without and with the overdispersion that was estimated by genes that were not fitted."""
    gain = plain.losses(smoothing) - dispersed.losses(smoothing)
    mean, error = float(gain.mean()), standard_error(gain)
    return OverdispersionEvidence(mean > _CLEAR * error, estimate, mean, error)
