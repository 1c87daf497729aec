"""How a result came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_spotmix.dataset.fixes import Fix
from napari_spotmix.result import Result

__all__ = ["with_fixes"]


def with_fixes(result: Result, fixes: Sequence[str | Fix]) -> Result:
    """Return a result whose parameters and notes name the fixes that its input had before the run.

    Parameters
    ----------
    result : Result
    fixes : sequence of str or Fix
        In the order in which they were applied; without any, `result` itself is returned.
    """
    if not fixes:
        return result
    names = [str(fix) for fix in fixes]
    note = f"Fixes applied before the run: {', '.join(names)}. The files were not changed."
    provenance = result.provenance.with_fixes(tuple(names))
    return replace(result, provenance=provenance, notes=(*result.notes, note))
