"""Findings in the data before a run, and buttons that fix them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_spotmix.base.progress import Task
from napari_spotmix.base.text import count
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.ui.panels.notify import problem_text, reporting
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import FoldableSection, add_all, plain_label, soon
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import plain, shortened

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.base.progress import Progress, ProgressCallback
    from napari_spotmix.dataset.diagnostics import Finding
    from napari_spotmix.ui.panels.unsaved import UnsavedQuestion
    from napari_spotmix.ui.state.loaded import LoadedInputs
    from napari_spotmix.ui.state.session import Session

__all__ = ["CheckPanel"]

#: The color of the line next to a finding of each level, visible on light and dark themes.
_COLORS = {"problem": "#d64545", "warning": "#d9962b", "note": "#8a8f98"}
#: So many problems and warnings are shown; the others and the notes are folded away.
_OPEN = 4
#: What loses a result when a fix takes effect.
_CHANGING = "Changing the spots"
#: Letters of a button, which must fit the dock.
_LETTERS = 38


class FindingRow(QFrame):
    """One finding: its level, its text, and a button if it can be fixed.

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
        text = ", then ".join(fix.words for fix in finding.fixes)
        button = QPushButton(shortened(text, _LETTERS).replace("&", "&&"))
        button.setToolTip(plain(f"{text} ({' '.join(fixes)}), in memory: the file is not changed"))
        button.clicked.connect(lambda: self.fix_asked.emit(fixes))
        return button


class CheckPanel(Panel):
    """Checks what is loaded whenever that changes, in a thread, and shows the findings.

    Signals
    -------
    found : list of Finding
        Other findings are shown.
    """

    found = Signal(list)

    def __init__(self, session: Session, unsaved: UnsavedQuestion) -> None:
        super().__init__(session)
        self._data, self._unsaved = session.data, unsaved
        self.findings: list[Finding] = []
        self.state = plain_label()
        self.stop = QPushButton("Stop checking")
        self.undo = QPushButton("Undo fixes")
        self.undo.setToolTip("Use the data as they are in the files")
        self._body = QWidget()
        self._rows = QVBoxLayout(self._body)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(6)
        add_all(self, self.state, self._body, self.stop, self.undo)
        self._checker, self._fixer = Runner(self), Runner(self)
        # Tissue and reference may change together: they are checked once.
        self._soon = soon(self)
        self._connect()
        self._check()

    def _connect(self) -> None:
        connect = self._connections.connect
        connect(self._checker.progressed, self._report_progress)
        connect(self._checker.finished, self._show)
        connect(self._checker.failed, self._fail)
        connect(self._checker.cancelled, self._cancelled)
        connect(self._fixer.finished, self._take)
        connect(self._fixer.failed, self._fail)
        connect(self.stop.clicked, self._checker.cancel)
        connect(self.undo.clicked, self._undo)
        connect(self._soon.timeout, self._check)
        connect(self._data.tissue_changed, self._check_soon)
        connect(self._data.reference_changed, self._check_soon)

    @property
    def summary(self) -> str:
        """One line on what was found."""
        if self._checker.is_running:
            return "Checking…"
        numbers = {level: sum(one.level == level for one in self.findings) for level in _COLORS}
        found = ", ".join(count(number, level) for level, number in numbers.items() if number)
        return f"No problems, {found}" if found and not numbers["problem"] else found

    @property
    def is_busy(self) -> bool:
        """Whether something is being checked or fixed."""
        return self._checker.is_running or self._fixer.is_running or self._soon.isActive()

    @property
    def rows(self) -> list[FindingRow]:
        """The rows of all findings, folded or not."""
        return self._body.findChildren(FindingRow)

    @property
    def runners(self) -> tuple[Runner, ...]:
        return self._checker, self._fixer

    def release(self) -> None:
        """Stop checking, and disconnect from the session."""
        self._soon.stop()
        super().release()

    # Checking

    def _check_soon(self) -> None:
        self._soon.start()

    def _check(self) -> None:
        self._show([])
        inputs = self._data.inputs
        if inputs is None:
            self._checker.cancel()
            self._rest("Data are checked as soon as spots, a reference and its cell types are chosen.")
            return
        self._checker.start(check_task(inputs))
        self._rest("Checking…")
        self.found.emit([])

    def _report_progress(self, progress: Progress) -> None:
        self.state.setText(f"{progress.stage}…")

    def _cancelled(self) -> None:
        self._rest("Not checked. Choose data again to have them checked.")

    def _rest(self, text: str) -> None:
        self.state.setText(text)
        self.state.setVisible(bool(text))
        self.stop.setVisible(self._checker.is_running)
        self.undo.setVisible(bool(self._data.fixes))

    def _fail(self, error: BaseException) -> None:
        self._rest(f"Failed: {problem_text(error)}")

    # Findings

    @reporting
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
            if row is not None:
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
        self._rows.addWidget(FoldableSection(title, inside, open=False))

    # Fixing

    def _fix(self, fixes: tuple[str, ...]) -> None:
        inputs = self._data.inputs
        if inputs is None:
            return

        def start() -> None:
            self._fixer.start(fix_task(inputs, fixes))
            self._rest("Fixing…")

        if any(fix.startswith("spatial:") for fix in fixes):  # other spots end the result
            self._unsaved.ask(start, doing=_CHANGING)
        else:
            start()

    @reporting
    def _take(self, fixed: tuple[AnnData, AnnData, tuple[str, ...]]) -> None:
        self._data.set_fixed(*fixed)

    @reporting
    def _undo(self, _: bool = False) -> None:
        tissue = self._data.tissue
        if tissue is not None and tissue.original is not None:
            self._unsaved.ask(self._data.undo_fixes, doing=_CHANGING)
        else:
            self._data.undo_fixes()


def check_task(inputs: LoadedInputs) -> Task:
    """Return the task that checks the data before a run."""
    spatial, reference = inputs.tissue.adata, inputs.reference.adata

    def task(on_progress: ProgressCallback) -> list[Finding]:
        from napari_spotmix.dataset.diagnostics import diagnose  # in the thread: numba is slow to import

        return diagnose(spatial, reference, cell_type_key=inputs.cell_type_key, on_progress=on_progress)

    return task


def fix_task(inputs: LoadedInputs, fixes: tuple[str, ...]) -> Task:
    """Return the task that fixes the data; it returns the arguments of `LoadedData.set_fixed`."""
    spatial, reference = inputs.tissue.adata, inputs.reference.adata

    def task(_: ProgressCallback) -> tuple[AnnData, AnnData, tuple[str, ...]]:
        from napari_spotmix.dataset.fixes import apply_fixes

        both = apply_fixes(spatial, reference, fixes, cell_type_key=inputs.cell_type_key)
        bin_grid(both[0])  # takes a while for a million bins, and is kept
        return *both, fixes

    return task
