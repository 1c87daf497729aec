"""``spotmix warm-up``."""

from __future__ import annotations

from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.cli._terminal import cancellable, say

__all__ = ["warm_up"]


def warm_up() -> None:
    """Compile what a run needs, once after installation, so that the first run does not wait for it.

    The first run and the window do this by themselves. For installers, images of containers and CI.

    For example:

        spotmix warm-up
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.model.compilation import compiled, mark

        compiled(on_progress, whole=True)
        if mark().exists():
            return "Ready: the first run starts at once."
        return "Nothing could be kept on disk: each process has to compile. Set NUMBA_CACHE_DIR to a folder."

    say(cancellable(work, cancelled=lambda: "Cancelled. The next run prepares the rest."))
