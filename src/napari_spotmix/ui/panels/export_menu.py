"""Ways to keep a result besides saving it: other formats, and the command or Python of its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QAction
from qtpy.QtWidgets import QApplication, QFileDialog, QMenu, QPushButton, QWidget

from napari_spotmix.base.errors import InputError
from napari_spotmix.params import Parameters
from napari_spotmix.workflow.spec import RunSpec

if TYPE_CHECKING:
    from napari_spotmix.output.exporters import Target
    from napari_spotmix.ui.state.session import Session

__all__ = ["MenuButton", "choose_export", "copy", "session_spec"]


class MenuButton(QPushButton):
    """A button that opens a menu of actions: name, tooltip and callback."""

    def __init__(self, text: str, actions: Sequence[tuple[str, str, Callable[[], None]]]) -> None:
        super().__init__(f"{text} ▾")
        self.setStyleSheet("QPushButton::menu-indicator { image: none; }")  # it would cover the text
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


def session_spec(session: Session, parameters: Parameters | None = None) -> RunSpec:
    """Return the run of what is loaded: the files, how they were read and fixed, and `parameters`.

    Raises
    ------
    InputError
        If no spots are loaded.
    """
    tissue, reference = session.data.tissue, session.data.reference
    if tissue is None:
        raise InputError("No spots are loaded. Choose spatial data first.")
    spec = RunSpec(
        tissue.path, fix=session.data.fixes, parameters=parameters or Parameters(), **vars(tissue.reading)
    )
    if reference is None:
        return spec
    return replace(
        spec,
        reference=reference.path,
        labels=reference.labels,
        more_references=reference.more,
        cell_type_key=session.data.cell_type_key or spec.cell_type_key,
    )


def copy(text: str) -> None:
    """Put text on the clipboard."""
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)


def choose_export(parent: QWidget) -> tuple[Path, str] | None:
    """Ask for a file and the kind of its content; None if nothing was chosen."""
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
