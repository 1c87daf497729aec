"""Numbers on the pages of the model are those of the code."""

from __future__ import annotations

import ast
import re
from math import exp, sqrt
from pathlib import Path

import pytest

from napari_spotmix.model import fit, graph, rna_content, variation
from napari_spotmix.model.kernels.simd import WIDTH
from napari_spotmix.model.learning import data_term, heldout, selection
from napari_spotmix.model.solver import multigrid, solve
from napari_spotmix.model.uncertainty import calibration, pseudo_spots, residuals

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "explanation"


def constants_of(benchmark: str) -> dict[str, object]:
    """The constants at the head of a benchmark, which is not imported: it needs what tests do not."""
    found: dict[str, object] = {}
    for node in ast.parse((ROOT / "benchmarks" / benchmark).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            values = ast.literal_eval(node.value)
            found |= {name.id: value for name, value in zip(node.targets[0].elts, values, strict=True)}  # type: ignore[attr-defined]
    return found


SPEED, ROOFLINE = constants_of("speed.py"), constants_of("roofline.py")
LOW, HIGH = data_term.PLAUSIBLE_SHARE
N_STARTS = len(selection._STARTS) * len(selection._SHARPNESSES)
MOST_KAPPA = float(variation._KAPPAS.max())

#: What a page says, where "{}" stands for numbers of the code.
SAID: list[tuple[str, str, tuple[object, ...]]] = [
    ("model.md", "τ = {} is the standard deviation", (rna_content._BIOLOGY,)),
    ("model.md", "a factor of about {:.1f}.", (exp(sqrt(2) * rna_content._BIOLOGY),)),
    ("model.md", "{}² for handling", (rna_content._HANDLING,)),
    ("model.md", "of up to {:,} spots over the variance", (fit._LEARNING_SPOTS,)),
    ("model.md", "a type's cells (at most {})", (variation._MOST_CELLS,)),
    ("model.md", "At most {} directions are kept.", (variation._MOST_DIRECTIONS,)),
    ("model.md", "the weight of {} additional cells", (variation._PRIOR_CELLS,)),
    ("model.md", "likelihood, on up to {:,} spots", (variation._SPOTS,)),
    ("model.md", "at most {}, which means {:.0f} cells", (MOST_KAPPA, 1 / MOST_KAPPA)),
    ("model.md", "between 1/{0:.2f} and {0:.2f} of the counts", (data_term._CAUTIOUS_SHARE[1],)),
    ("model.md", "between {} and {} of the counts", (LOW, HIGH)),
    ("model.md", "(up to {} pitches away)", (graph._RADIUS["hexagonal"],)),
    ("model.md", "(up to {} pitches)", (graph._RADIUS["square"],)),
    ("solver.md", "{} at a time in the elements of SIMD", (WIDTH,)),
    ("solver.md", "so that {} fit into one SIMD vector", (WIDTH,)),
    ("solver.md", "add up to {} of all spots", (multigrid._FEW,)),
    ("solver.md", "at least {} of the strongest at either end", (multigrid._STRENGTH_OF_CONNECTION,)),
    ("solver.md", "the baseline is {} of the mean", (multigrid._SHARE,)),
    ("solver.md", "if {} plain cycles were not enough", (solve._PLAIN_CYCLES,)),
    ("solver.md", "or after {} cycles", (solve._CYCLES_WITHOUT_MEMORY,)),
    ("learning.md", "split at random into {} folds", (fit._FOLDS,)),
    (
        "learning.md",
        "{} genes or fewer are split in {} different ways",
        (heldout._FEW_GENES, heldout._PARTITIONS_OF_FEW),
    ),
    ("learning.md", "{:.0f} percent of the mean over types", (100 * heldout._BACKGROUND,)),
    ("learning.md", "on {} of the {} folds", (fit._GRADIENT_FOLDS, fit._FOLDS)),
    ("learning.md", "four fits, on up to {} spots", (fit._FEWER_SPOTS,)),
    ("learning.md", "the best of {} points", (N_STARTS,)),
    ("learning.md", "divided by {:.0f} as long as", (selection._STEP_DOWN,)),
    ("learning.md", "At most {:,} spots are used", (fit._LEARNING_SPOTS,)),
    ("learning.md", "contiguous patches of {}, spread", (fit._PATCH,)),
    ("uncertainty.md", "the formula alone gives, ±{:.2f} errors", (calibration.Z90,)),
    (
        "uncertainty.md",
        "up to {} spots are made whose truth is known, in four tissues of {}",
        (pseudo_spots._TISSUES * pseudo_spots._SPOTS, pseudo_spots._SPOTS),
    ),
    ("uncertainty.md", "{:.0%} come from the mean of the section", (pseudo_spots._OVERLOOKED,)),
    ("uncertainty.md", "and {:.0f} to {:.0f}.", (pseudo_spots._FEWEST_CELLS, pseudo_spots._MOST_CELLS)),
    ("uncertainty.md", "Errors of the {} pseudo-proportions", (calibration._ALIKE,)),
    ("uncertainty.md", "on up to {:,} spots, gene by gene", (residuals._SPOTS,)),
    ("uncertainty.md", "at least {} spots, large enough", (residuals._PATCH_SPOTS,)),
    ("uncertainty.md", "by {:.0f} times the spread", (residuals._STANDS_OUT,)),
    ("uncertainty.md", "a share of at least {}", (residuals._LEAST_SHARE,)),
    ("uncertainty.md", "fewer than {} patches", (residuals._FEWEST_PATCHES,)),
    (
        "roofline.md",
        "{} cell types, {:,} genes, about {} counts a bin",
        (SPEED["N_TYPES"], SPEED["N_GENES"], SPEED["COUNTS"]),
    ),
    ("roofline.md", "a root counts as {}, a logarithm", (ROOFLINE["_ROOT"],)),
    ("roofline.md", "an exponential as {}.", (ROOFLINE["_LOG"],)),
    ("roofline.md", "{:,} spots stay in the cache", (fit._LEARNING_SPOTS,)),
]


@pytest.mark.parametrize(("page", "sentence", "numbers"), SAID)
def test_a_number_on_a_page_is_that_of_the_code(
    page: str, sentence: str, numbers: tuple[object, ...]
) -> None:
    text = re.sub(r"\s+", " ", (PAGES / page).read_text(encoding="utf-8"))
    assert sentence.format(*numbers) in text
