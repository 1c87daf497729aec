"""How a result came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from napari_spotmix.dataset.fixes import Mend
from napari_spotmix.result import Result

__all__ = [
    "kept_with",
]


def kept_with(result: Result, mends: Sequence[str | Mend]) -> Result:
    """Return a result that tells by which mends its input was changed, in its parameters and notes."""
    if not mends:
        return result
    names = [str(mend) for mend in mends]
    given = {**result.parameters.get("given", {}), "mend": names}
    note = f"Mended before the run: {', '.join(names)}. The files were not changed."
    return replace(result, parameters={**result.parameters, "given": given}, notes=(*result.notes, note))
