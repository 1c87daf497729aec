"""Ways to keep a result beside saving it: other formats, and the command or Python that makes it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QAction
from qtpy.QtWidgets import QApplication, QFileDialog, QMenu, QPushButton, QWidget

from napari_spotmix.params import Parameters
from napari_spotmix.workflow.job import Job

if TYPE_CHECKING:
    from napari_spotmix.output.exporters import Target
    from napari_spotmix.ui.state.session import Session

__all__ = ["MenuButton", "choose_export", "copy", "session_job"]

#: Where the command that is copied writes to: a folder of its own wherever it is typed.
_OUTPUT = Path("spotmix-results")


class MenuButton(QPushButton):
    """A button that opens a menu of actions: name, tooltip and what is done."""

    def __init__(self, text: str, actions: Sequence[tuple[str, str, Callable[[], None]]]) -> None:
        super().__init__(f"{text} ▾")
        self.setStyleSheet("QPushButton::menu-indicator { image: none; }")  # it would lie on the text
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for name, tip, act in actions:
            action = QAction(name, menu)
            action.setToolTip(tip)
            action.triggered.connect(lambda _=False, act=act: act())
            menu.addAction(action)
        self._menu = menu
        self.setMenu(menu)

    def press(self, name: str) -> None:
        """Choose an action by its name."""
        next(action for action in self._menu.actions() if action.text() == name).trigger()


def session_job(session: Session, parameters: Parameters) -> Job | str:
    """Return the job that a run of what is loaded amounts to, or say why it is none."""
    loaded = session.data.inputs
    if loaded is None:
        return session.data.what_is_missing() or "Choose data first."
    spatial, reference = loaded.tissue.path, loaded.reference.path
    if spatial is None or reference is None:
        data = "The spots were" if spatial is None else "The reference was"
        return (
            f"{data} simulated or given in memory, so no command can read them. "
            "Write them to files, open those, and run again."
        )
    return Job(
        spatial,
        reference,
        _OUTPUT,
        cell_type_key=loaded.cell_type_key,
        parameters=parameters.as_dict(),
        reading=loaded.tissue.reading,
        labels=loaded.reference.labels,
        more_references=loaded.reference.more,
        fix=session.data.fixes,
    )


def copy(text: str) -> None:
    """Put text on the clipboard."""
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    clipboard.setText(text)


def choose_export(parent: QWidget) -> tuple[Path, str] | None:
    """Ask for a file and for what it is to hold; None where nothing was chosen."""
    from napari_spotmix.output.exporters import TARGETS

    filters = {_filter(target): target for target in TARGETS}
    path, chosen = QFileDialog.getSaveFileName(parent, "Export the result", "result", ";;".join(filters))
    if not path:
        return None
    target = filters[chosen]
    has_ending = Path(path).suffix.lower() in target.suffixes
    return Path(path if has_ending else path + target.suffixes[0]), target.name


def _filter(target: Target) -> str:
    return f"{target.words} ({' '.join(f'*{suffix}' for suffix in target.suffixes)})"
