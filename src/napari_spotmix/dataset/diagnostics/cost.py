"""How long a run takes, and how much memory."""

from __future__ import annotations

from anndata import AnnData

from napari_spotmix.dataset.access import labels
from napari_spotmix.dataset.cost import LARGEST, WITHIN, Size, machine_megabytes, needed
from napari_spotmix.dataset.finding import NOTE, WARNING, Finding

__all__ = ["cost_finding"]


def cost_finding(spatial: AnnData, reference: AnnData, cell_type_key: str) -> Finding:
    """Return time and memory of a run: a warning if this machine has less memory, else a note."""
    size = Size.of(spatial, reference, len(labels(reference, cell_type_key).categories))
    seconds, megabytes = needed(size)
    sure = f"measured runs of up to {LARGEST:,} spots stayed within a factor of {WITHIN:g}"
    text = (
        f"A run with default settings takes about {_time(seconds)} and {megabytes / 1024:.1f} GB of "
        f"memory ({sure if spatial.n_obs <= LARGEST else 'larger than any measured run'})."
    )
    available = machine_megabytes()
    if megabytes < available:
        return Finding(NOTE, text)
    return Finding(
        WARNING,
        f"{text} This machine has {available / 1024:.1f} GB. Use one with more memory, larger bins, or "
        "only a part of the section.",
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds, -1), 10):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
