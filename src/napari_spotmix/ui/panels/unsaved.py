"""The question before a result or regions are lost that are in no file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_spotmix.ui.text import count, literal, shortened

if TYPE_CHECKING:
    from napari_spotmix.ui.state.session import Session

__all__ = ["OPENING", "UnsavedQuestion"]

#: What loses a result when other data take its place.
OPENING = "Opening other data"

#: Letters of a section's name.
_LETTERS = 40


def _nothing() -> None:
    """Do nothing: what is on the screen stays."""


class UnsavedQuestion(QObject):
    """Asks whether to save, to discard or to cancel; the window handles events while it is open.

    Signals
    -------
    save_asked : callable
        The result is to be saved, and then this is to be called; if it was not saved, it is not called.
    """

    save_asked = Signal(object)

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._parent = session, parent
        self._discarded: object = None
        self.box: QMessageBox | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is unsaved, or the user has chosen to discard it."""
        return self._session.is_saved or self._session.made == self._discarded

    def ask(self, then: Callable[[], None], otherwise: Callable[[], None] = _nothing, *, doing: str) -> None:
        """Call `then` if nothing is lost by it, or once the user has saved or discarded; else `otherwise`.

        `doing` names what would lose the result, as "Closing napari".
        """
        self.keep()
        self.ask_again(then, otherwise, doing=doing)

    def ask_again(
        self, then: Callable[[], None], otherwise: Callable[[], None] = _nothing, *, doing: str
    ) -> None:
        """As `ask`, but what the user has discarded since then needs no second question."""
        if self.is_settled:
            then()
            return
        self.close()
        box = QMessageBox(self._parent)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setWindowTitle("Unsaved result")
        box.setText(self._what())
        box.setInformativeText(f"{doing} discards what is not saved.")
        save = box.addButton("Save result…", QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(save)
        box.setEscapeButton(box.addButton(QMessageBox.StandardButton.Cancel))

        def answer(_: int) -> None:
            self.box = None
            box.deleteLater()
            if box.clickedButton() is discard:
                self._discarded = self._session.made
                then()
            elif box.clickedButton() is save:
                otherwise()  # until it is saved, everything stays as it is
                self.save_asked.emit(then)
            else:
                otherwise()

        box.finished.connect(answer)
        self.box = box
        box.open()

    def keep(self) -> None:
        """Ask again about what the user has discarded: it is still on the screen."""
        self._discarded = None

    def close(self) -> None:
        """Take the question from the screen; it counts as cancelled."""
        if self.box is not None:
            self.box.reject()

    def _what(self) -> str:
        """Say what is in no file."""
        session = self._session
        name = "" if session.data.tissue is None else shortened(session.data.tissue.name, _LETTERS)
        of = f" of {name}" if name else ""
        n_regions, parts = len(session.regions), []
        if session.has_unsaved_result:
            parts.append(f"the result{of}")
        if session.has_unsaved_regions:
            parts.append(count(n_regions, "region") if n_regions else "the removal of its regions")
        is_plural = len(parts) > 1 or (n_regions > 1 and not session.has_unsaved_result)
        verb, text = "are" if is_plural else "is", " and ".join(parts)
        return literal(f"{text[:1].upper()}{text[1:]} {verb} not saved.")
