"""What is worth knowing of the data before a run, and buttons that fix it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_spotmix.base.progress import Task
from napari_spotmix.base.text import count
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.ui.panels.notify import problem_text, telling
from napari_spotmix.ui.panels.section import Section, add_all, plain_label
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import plain, shortened

if TYPE_CHECKING:
    from napari_spotmix.base.progress import Progress, ProgressCallback
    from napari_spotmix.dataset.diagnostics import Finding
    from napari_spotmix.ui.state.session import Session

__all__ = ["CheckPanel"]

#: Each level with its color, that of the line beside it, which is seen on light and dark alike.
_COLORS = {"problem": "#d64545", "warning": "#d9962b", "note": "#8a8f98"}
#: So many problems and warnings stand open; the others and the notes are folded away.
_OPEN = 4
#: Letters of a button, which must fit the dock.
_LETTERS = 38


class FindingRow(QFrame):
    """One finding: its level, its text, and the button that fixes it where one can.

    Signals
    -------
    fix_asked : tuple of str
        The button was pressed.
    """

    fix_asked = Signal(tuple)

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.setObjectName("finding")
        self.setStyleSheet(f"#finding {{ border: none; border-left: 3px solid {_COLORS[finding.level]}; }}")
        self.text = plain_label(f"{finding.level.capitalize()}: {finding.message}")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 1, 0, 1)
        layout.setSpacing(3)
        layout.addWidget(self.text)
        self.button: QPushButton | None = None
        if finding.fixes:
            self.button = self._fix_button(finding)
            row = QHBoxLayout()
            row.addWidget(self.button)
            row.addStretch()
            layout.addLayout(row)

    def _fix_button(self, finding: Finding) -> QPushButton:
        fixes = tuple(map(str, finding.fixes))
        words = ", then ".join(fix.words for fix in finding.fixes)
        button = QPushButton(shortened(words, _LETTERS).replace("&", "&&"))
        button.setToolTip(plain(f"{words} ({' '.join(fixes)}), in memory: the file stays as it is"))
        button.clicked.connect(lambda: self.fix_asked.emit(fixes))
        return button


class CheckPanel(QWidget):
    """Looks at what is loaded whenever that changes, in a thread, and shows what it finds.

    Signals
    -------
    found : list of Finding
        What is shown has changed.
    """

    found = Signal(list)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.findings: list[Finding] = []
        self.state = plain_label()
        self.stop = QPushButton("Stop checking")
        self.undo = QPushButton("Undo fixes")
        self.undo.setToolTip("Take the data as they are in their files")
        self._body = QWidget()
        self._rows = QVBoxLayout(self._body)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(6)
        add_all(self, self.state, self._body, self.stop, self.undo)
        self._looker, self._fixer = Runner(self), Runner(self)
        self._looker.progressed.connect(self._tell)
        self._looker.finished.connect(self._show)
        self._looker.failed.connect(self._fail)
        self._looker.cancelled.connect(
            lambda: self._rest("Not checked. Choose data again to have them checked.")
        )
        self._fixer.finished.connect(self._take)
        self._fixer.failed.connect(self._fail)
        self.stop.clicked.connect(self._looker.cancel)
        self.undo.clicked.connect(lambda: self._session.undo_fixes())
        # Tissue and reference may change together: they are looked at once.
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._look)
        for signal in self._signals():
            signal.connect(self._look_soon)
        self._look()

    @property
    def summary(self) -> str:
        """One line on what was found."""
        if self._looker.is_running:
            return "Checking…"
        numbers = {level: sum(one.level == level for one in self.findings) for level in _COLORS}
        told = ", ".join(count(number, level) for level, number in numbers.items() if number)
        return f"No problem, {told}" if told and not numbers["problem"] else told

    @property
    def is_busy(self) -> bool:
        """Whether something is being looked at or fixed."""
        return self._looker.is_running or self._fixer.is_running or self._soon.isActive()

    @property
    def rows(self) -> list[FindingRow]:
        """What is shown, folded or not."""
        return self._body.findChildren(FindingRow)

    def close_runners(self) -> None:
        """Stop looking."""
        self._soon.stop()
        self._looker.close()
        self._fixer.close()

    def let_go(self) -> None:
        """Let go of the session."""
        for signal in self._signals():
            signal.disconnect(self._look_soon)

    def _signals(self) -> tuple[Any, ...]:
        return self._session.tissue_changed, self._session.reference_changed

    # Looking

    def _look_soon(self) -> None:
        self._soon.start()

    def _look(self) -> None:
        self._show([])
        if self._session.what_is_missing() is not None:
            self._looker.cancel()
            self._rest("Data are checked as soon as spots, a reference and its cell types are chosen.")
            return
        self._looker.start(look_task(self._session))
        self._rest("Checking…")
        self.found.emit([])

    def _tell(self, progress: Progress) -> None:
        self.state.setText(f"{progress.stage}…")

    def _rest(self, words: str) -> None:
        self.state.setText(words)
        self.state.setVisible(bool(words))
        self.stop.setVisible(self._looker.is_running)
        self.undo.setVisible(bool(self._session.fixes))

    def _fail(self, error: BaseException) -> None:
        self._rest(f"Failed: {problem_text(error)}")

    # What was found

    @telling
    def _show(self, findings: list[Finding]) -> None:
        self.findings = findings
        self._clear()
        serious = [one for one in findings if one.level != "note"]
        for one in serious[:_OPEN]:
            self._rows.addWidget(self._row(one))
        self._fold(serious[_OPEN:], "more")
        self._fold([one for one in findings if one.level == "note"], "note")
        self._rest("" if serious or not findings else "No problems found.")
        self.found.emit(findings)

    def _clear(self) -> None:
        while (item := self._rows.takeAt(0)) is not None:
            row = item.widget()
            row.setParent(None)
            row.deleteLater()

    def _row(self, finding: Finding) -> FindingRow:
        row = FindingRow(finding)
        row.fix_asked.connect(self._fix)
        return row

    def _fold(self, findings: Sequence[Finding], noun: str) -> None:
        if not findings:
            return
        inside = QWidget()
        add_all(inside, *map(self._row, findings))
        title = f"{len(findings)} more" if noun == "more" else count(len(findings), noun)
        self._rows.addWidget(Section(title, inside, open=False))

    # Fixing

    def _fix(self, fixes: tuple[str, ...]) -> None:
        self._fixer.start(fix_task(self._session, fixes))
        self._rest("Fixing…")

    @telling
    def _take(self, fixed: Any) -> None:
        self._session.set_fixed(*fixed)


def look_task(session: Session) -> Task:
    """Return the look at what the session has loaded; it reads no session later."""
    assert session.tissue is not None
    assert session.reference is not None
    spatial, reference, key = session.tissue.adata, session.reference.adata, session.cell_type_key

    def task(on_progress: ProgressCallback) -> list[Finding]:
        from napari_spotmix.dataset.diagnostics import diagnose  # in the thread: numba is slow to import

        return diagnose(spatial, reference, cell_type_key=key, on_progress=on_progress)

    return task


def fix_task(session: Session, fixes: tuple[str, ...]) -> Task:
    """Return the fixing of what the session has loaded, with what `Session.set_fixed` takes."""
    assert session.tissue is not None
    assert session.reference is not None
    spatial, reference, key = session.tissue.adata, session.reference.adata, session.cell_type_key

    def task(_: ProgressCallback) -> tuple[Any, Any, tuple[str, ...]]:
        from napari_spotmix.dataset.fixes import apply_fixes

        both = apply_fixes(spatial, reference, fixes, cell_type_key=key)
        bin_grid(both[0])  # takes a while for a million bins, and is kept
        return *both, fixes

    return task
