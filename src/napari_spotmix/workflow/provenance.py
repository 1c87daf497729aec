"""How a result came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_spotmix.dataset.fixes import Fix
from napari_spotmix.result import Result

__all__ = [
    "kept_with",
]


def kept_with(result: Result, fixes: Sequence[str | Fix]) -> Result:
    """Return a result that tells by which fixes its input was changed, in its parameters and notes."""
    if not fixes:
        return result
    names = [str(fix) for fix in fixes]
    note = f"Fixed before the run: {', '.join(names)}. The files were not changed."
    provenance = result.provenance.with_fixes(tuple(names))
    return replace(result, provenance=provenance, notes=(*result.notes, note))
