"""What the panels of the dock have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_spotmix.ui.state.connections import Connections

if TYPE_CHECKING:
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.worker import Runner

__all__ = ["Panel"]


class Panel(QWidget):
    """A panel of the dock, which follows the session until it is released."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._connections = Connections()

    @property
    def summary(self) -> str:
        """One line on the panel, shown while it is folded."""
        return ""

    @property
    def runners(self) -> tuple[Runner, ...]:
        """What runs in threads."""
        return ()

    def release(self) -> None:
        """Stop what runs, and disconnect from the session and the viewer."""
        self._connections.disconnect_all()
        for runner in self.runners:
            runner.close()
