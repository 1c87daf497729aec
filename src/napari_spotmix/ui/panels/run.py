"""Run the deconvolution, watch it, cancel it, save its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ProgressBar, PushButton
from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Task
from napari_spotmix.io import check_writable
from napari_spotmix.io.keeping import check_replaceable
from napari_spotmix.params import Parameters, describe
from napari_spotmix.ui.panels.export_menu import MenuButton, choose_export, copy, session_spec
from napari_spotmix.ui.panels.form import ParameterForm
from napari_spotmix.ui.panels.notify import problem_text, reporting, show_problem
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import FoldableSection, add_all, plain_label, row_of
from napari_spotmix.ui.state.figures import report_task
from napari_spotmix.ui.state.prepare import prepare
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import bullet_list, count
from napari_spotmix.workflow.codegen import as_command, as_python
from napari_spotmix.workflow.run import Data, run, save
from napari_spotmix.workflow.spec import RunSpec

if TYPE_CHECKING:
    from napari_spotmix.base.progress import Progress, ProgressCallback
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Made, Session

__all__ = ["RunPanel", "deconvolve_task"]

#: Name that is offered for the report.
_REPORT = "report.html"

_SAVE_TIP = "Write spatial.h5ad, proportions.csv and recipe.toml into a folder"
_REPORT_TIP = "Write the result as a page for the browser, and show it"
_KEEP_TIP = "Export it, copy the command or Python of its run, or add a layer per cell type"


def deconvolve_task(session: Session, spec: RunSpec) -> Task:
    """Return the task that runs on what is loaded now; what is loaded later does not change it.

    Raises
    ------
    InputError
        If the spots or the reference are missing.
    """
    tissue, reference = session.data.tissue, session.data.reference
    if tissue is None or reference is None:
        raise InputError(session.data.what_is_missing() or "Choose spatial data and a reference first.")
    data = Data(tissue.adata, reference.adata)

    def task(on_progress: ProgressCallback) -> Result:
        result = run(spec, data, on_progress=on_progress).result
        prepare(result)
        return result

    return task


class RunPanel(Panel):
    """Parameters, Run, Cancel, progress, the outcome, and ways to save it.

    Signals
    -------
    busy_changed : bool
        A run, a save or a report has started or ended.
    """

    busy_changed = Signal(bool)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._started = 0.0
        # The run in progress, and the run that made the result; None for a result that was opened.
        self._running = RunSpec()
        self._made: RunSpec | None = None
        self._n_problems = 0
        self._why_not: str | None = None
        # What is being saved, and what the user has asked for after that.
        self._saving: Made | None = None
        self._after_save: Callable[[], None] | None = None
        self._make_widgets()
        self._runner = self._make_runner(self._finish)
        self._saver = self._make_runner(self._saved)
        self._reporter = self._make_runner(self._reported)
        self._connect()
        self._show()

    def _make_widgets(self) -> None:
        # What is changed most is first.
        self.form = ParameterForm(sorted(describe(), key=lambda info: info.advanced))
        self.run = PushButton(text="Run")
        self.cancel = PushButton(text="Cancel", tooltip="Cancel the run; no result is kept", enabled=False)
        self.bar = ProgressBar(value=0, min=0, max=1000, visible=False, label="")
        self.save = PushButton(text="Save…", enabled=False)
        self.report = PushButton(text="Report…", enabled=False)
        self.keep = MenuButton("More", self._actions())
        self.state = plain_label()
        self.notes_text = plain_label()
        self.notes = FoldableSection(
            "Notes", self.notes_text, tip="What to know about this result", open=False
        )
        self.more = FoldableSection(
            "Parameters",
            self.form,
            tip="The defaults suit most sections; values left empty are learned from the data",
            open=False,
        )
        # magicgui's widgets live as long as somebody holds them.
        self._buttons = row_of(self.run, self.cancel, self.save, self.report)
        self._buttons.native.layout().addWidget(self.keep)
        add_all(self, self._buttons.native, self.bar.native, self.state, self.notes, self.more)

    def _actions(self) -> list[tuple[str, str, Callable[[], None]]]:
        """Return the entries of the menu: name, tooltip and callback."""
        layers = "Add a napari layer for each cell type, to show, blend and edit"
        return [
            (
                "Export…",
                "Export the result for another program: a table, QuPath, Loupe, SpatialData",
                self._export,
            ),
            (
                "Copy command",
                "The `spotmix run` command that makes this result in a terminal",
                self._copy_command,
            ),
            ("Copy Python", "Python code that makes this result", self._copy_python),
            ("Layer per cell type", layers, self._add_layers),
        ]

    def _connect(self) -> None:
        connect, session = self._connections.connect, self._session
        connect(self.run.changed, self.start)
        connect(self.cancel.changed, self._cancel)
        connect(self.save.changed, self._choose_where_to_save)
        connect(self.report.changed, self._choose_where_to_report)
        connect(session.data.tissue_changed, self._runner.cancel)
        connect(session.result_changed, self._forget_run)
        for signal in (session.data.tissue_changed, session.data.reference_changed, session.result_changed):
            connect(signal, self._show)
        connect(session.result_replayed, self._show_notes)

    @property
    def summary(self) -> str:
        """One line on what was fitted."""
        result = self._session.result
        return "" if result is None else result.provenance.summary

    @property
    def is_running(self) -> bool:
        """Whether a run, a save or a report is in progress."""
        return any(runner.is_running for runner in self.runners)

    @property
    def runners(self) -> tuple[Runner, ...]:
        return self._runner, self._saver, self._reporter

    def hold(self, n_problems: int) -> None:
        """Disable Run while the check finds problems."""
        self._wait(n_problems, self._why_not)

    def wait_for(self, why_not: str | None) -> None:
        """Disable Run while it would not use what the form shows."""
        self._wait(self._n_problems, why_not)

    def _wait(self, n_problems: int, why_not: str | None) -> None:
        if (n_problems, why_not) == (self._n_problems, self._why_not):
            return
        shows_outcome = self.state.text() != self._idle
        self._n_problems, self._why_not = n_problems, why_not
        # How the last run ended stays on the screen: the check has a message of its own.
        if shows_outcome:
            self._enable()
        else:
            self._show()

    @property
    def _obstacle(self) -> str | None:
        """What prevents a run, and what to do; None if nothing does."""
        missing = self._session.data.what_is_missing() or self._why_not
        if missing is not None or not self._n_problems:
            return missing
        them = "it" if self._n_problems == 1 else "them"
        return f"Check found {count(self._n_problems, 'problem')}. Fix {them} above, or choose other data."

    @property
    def _idle(self) -> str:
        """The message while nothing has been run."""
        return self._obstacle or "Ready to run."

    @reporting
    def start(self) -> None:
        """Run, or report everything that is wrong with the form."""
        if self._obstacle is not None or self.is_running:
            return
        try:
            parameters = Parameters(**self.form.values())
        except InputError as error:
            self.more.set_open(True)  # to be corrected
            self._fail(error)
            return
        self._started = time.monotonic()
        self._running = session_spec(self._session, parameters)
        self._runner.start(deconvolve_task(self._session, self._running))
        self._busy("Starting")

    @property
    def spec(self) -> RunSpec:
        """The run that made the result; for a result that was opened, its files only."""
        return self._made or session_spec(self._session)

    def save_to(self, folder: Path, then: Callable[[], None] | None = None) -> None:
        """Write the result into `folder`; call `then` once it is there."""
        self._saving, self._after_save = self._session.made, then
        result, spec = self._shown_result(), replace(self.spec, report=False)
        opened = self._session.data.files

        def task(on_progress: ProgressCallback) -> str:
            check_writable(folder, opened | spec.inputs)
            save(result, spec, folder, on_progress=on_progress)
            return f"Saved in {folder}"

        self._saver.start(task)
        self._busy("Saving")

    def report_to(self, path: Path) -> None:
        """Write the report of the result to `path`, and show it in the browser."""
        session = self._session
        if session.result is None:
            return
        title = session.data.tissue.name if session.data.tissue else ""
        reading = session_spec(session).reading
        # Its maps have the range of those on the screen.
        result = replace(session.result, view=session.view)
        self._reporter.start(report_task(result, session.data.files, reading, title, path))
        self._busy("Reporting")

    def export_to(self, path: Path, kind: str | None = None) -> None:
        """Write the result into a file for another program; see `exporters.export`."""
        self._saving = self._after_save = None
        result, inputs = self._shown_result(), self._session.data.files

        def task(on_progress: ProgressCallback) -> str:
            from napari_spotmix.output.exporters import export, export_notes

            check_replaceable(path, inputs)
            written = export(result, path, kind, on_progress=on_progress)
            return "\n".join([f"Exported to {written}", *export_notes(result, path, kind)])

        self._saver.start(task)
        self._busy("Exporting")

    def _shown_result(self) -> Result:
        session = self._session
        if session.result is None:
            raise InputError("There is no result yet: run first.")
        return replace(session.result, regions=session.regions, view=session.view)

    # Progress and outcome

    def _make_runner(self, finished: Callable[[Any], None]) -> Runner:
        runner = Runner(self)
        runner.progressed.connect(self._report_progress)
        runner.finished.connect(finished)
        runner.failed.connect(self._fail)
        runner.cancelled.connect(self._was_cancelled)
        return runner

    def _report_progress(self, progress: Progress) -> None:
        self.bar.native.setRange(0, 1000 if progress.total else 0)
        self.bar.value = round(1000 * progress.fraction)
        step = f" {progress.step} of {progress.total}" if progress.total > 1 else ""
        self.state.setText(f"Running: {progress.stage}{step}")

    @reporting
    def _finish(self, result: Result) -> None:
        seconds = time.monotonic() - self._started
        self._session.set_result(result)
        self._made = self._running
        self._rest(f"Finished in {seconds:.1f} s. {self.summary}")

    def _forget_run(self) -> None:
        """Another result is shown; if it was run here, `_finish` sets its run afterwards."""
        self._made = None

    def _fail(self, error: BaseException) -> None:
        self._rest(f"Failed: {problem_text(error)}")
        show_problem(error)

    def _was_cancelled(self) -> None:
        self._rest("Cancelled. Nothing was changed.")

    @reporting
    def _saved(self, message: str) -> None:
        then = self._after_save
        if self._saving is not None:
            self._session.mark_saved(self._saving)
        self._rest(message)
        if then is not None:
            then()

    def _reported(self, path: Path) -> None:
        self._rest(f"Report in {path}")
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))

    def _cancel(self) -> None:
        self.cancel.enabled = False
        self.state.setText("Cancelling…")
        for runner in self.runners:
            runner.cancel()

    # What is shown

    def _busy(self, stage: str) -> None:
        self.bar.native.setRange(0, 0)
        self.bar.visible = True
        self.state.setText(f"{stage}…")
        self._enable()

    def _rest(self, message: str) -> None:
        self._saving = self._after_save = None
        self.bar.visible = False
        self.bar.native.setRange(0, 1000)
        self.state.setText(message)
        self._enable()

    def _show(self) -> None:
        if not self.is_running:
            self.state.setText(self._idle)
        self._show_notes()
        self._enable()

    def _show_notes(self) -> None:
        notes = self._session.result.notes if self._session.result else ()
        self.notes.setVisible(bool(notes))
        self.notes.set_title(count(len(notes), "note"))
        self.notes_text.setText(bullet_list(notes))

    def _add_layers(self) -> None:
        self._session.layers_wanted.emit()
        self.state.setText(
            "Each cell type now has a layer, hidden at first: click its eye icon in napari's layer list."
        )

    def _enable(self) -> None:
        self.busy_changed.emit(self.is_running)
        obstacle = self._obstacle
        self.run.enabled = obstacle is None and not self.is_running
        self.run.tooltip = obstacle or (
            "A run is in progress" if self.is_running else "Estimate the cell types of each spot"
        )
        self.cancel.enabled = self.is_running
        can_keep = self._session.result is not None and not self.is_running
        for button, tip in ((self.save, _SAVE_TIP), (self.report, _REPORT_TIP)):
            button.enabled = can_keep
            button.tooltip = tip if can_keep else self._why_not_kept
        self.keep.setEnabled(can_keep)
        self.keep.setToolTip(_KEEP_TIP if can_keep else self._why_not_kept)

    @property
    def _why_not_kept(self) -> str:
        if self._session.result is None:
            return "There is no result yet: run first"
        return "Wait until the task in progress has ended"

    @reporting
    def _choose_where_to_save(self) -> None:
        self.save_first(None)

    @reporting
    def save_first(self, then: Callable[[], None] | None) -> None:
        """Ask for a folder, save the result in it, and then call `then`, unless that fails."""
        if self.is_running:
            raise InputError("Another task is in progress. Wait until it has ended, then save the result.")
        folder = QFileDialog.getExistingDirectory(self, "Folder for the result")
        if folder:
            self.save_to(Path(folder), then)

    @reporting
    def _choose_where_to_report(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "File for the report", _REPORT, "Page (*.html)")
        if name:
            path = Path(name)
            self.report_to(path if path.suffix else path.with_suffix(".html"))

    def _export(self) -> None:
        chosen = choose_export(self)
        if chosen is not None:
            self.export_to(*chosen)

    @reporting
    def _copy_command(self) -> None:
        self._copy(as_command, "Copied. Paste it into a terminal.")

    @reporting
    def _copy_python(self) -> None:
        self._copy(as_python, "Copied. Paste it into a script or a notebook.")

    def _copy(self, as_text: Callable[[RunSpec], str], message: str) -> None:
        if self._made is None:
            self.state.setText(
                "This result was opened, not run here. Make it again with `spotmix rerun` and its folder."
            )
            return
        try:
            copy(as_text(self._made))
        except InputError as error:  # the data are no files
            self.state.setText(str(error))
            return
        adjusted = self._session.result is not self._session.learned
        note = " It does not include adjustments made after the run." if adjusted else ""
        self.state.setText(message + note)
