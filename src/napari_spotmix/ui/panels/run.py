"""Run the deconvolution, watch it, stop it, keep its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, ProgressBar, PushButton
from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Task
from napari_spotmix.io import heard
from napari_spotmix.io import results as export
from napari_spotmix.io.readers.reading import DEFAULT, Reading
from napari_spotmix.io.recipe import checksums, make_recipe
from napari_spotmix.params import Parameters, describe
from napari_spotmix.ui.panels.export_menu import MenuButton, choose_export, copy, session_job
from napari_spotmix.ui.panels.form import ParameterForm
from napari_spotmix.ui.panels.notify import problem_text, reporting, show_problem
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import FoldableSection, add_all, plain_label
from napari_spotmix.ui.state.figures import report_task
from napari_spotmix.ui.state.prepare import prepare
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import bullet_list, count
from napari_spotmix.workflow.codegen import as_command, as_python
from napari_spotmix.workflow.job import Job, tables_of

if TYPE_CHECKING:
    from napari_spotmix.base.progress import Progress, ProgressCallback
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = ["RunPanel", "deconvolve_task"]


def deconvolve_task(session: Session, parameters: Parameters) -> Task:
    """Return the run of what the session has loaded; it holds all it needs and reads no session later."""
    data = session.data.inputs
    if data is None:
        raise InputError(session.data.what_is_missing() or "Choose data first.")
    spatial, reference, key = data.tissue.adata, data.reference.adata, data.cell_type_key
    fixes = session.data.fixes

    def task(on_progress: ProgressCallback) -> Result:
        # Imported in the thread: numba takes its time.
        from napari_spotmix.workflow.deconvolve import deconvolve
        from napari_spotmix.workflow.provenance import kept_with

        result = deconvolve(spatial, reference, cell_type_key=key, params=parameters, on_progress=on_progress)
        result = kept_with(result, fixes)
        prepare(result)
        return result

    return task


class RunPanel(Panel):
    """Parameters, Run, Cancel, progress, what came of it, and ways to keep it.

    Signals
    -------
    busy_changed : bool
        A job has started or ended.
    """

    busy_changed = Signal(bool)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._started = 0.0
        # What the run was asked for, and of which result: another may be opened meanwhile.
        self._asked: Job | str = ""
        self._made: tuple[Mapping[str, Any], Job | str] | None = None
        self._n_problems = 0
        # What is changed most stands first.
        self.form = ParameterForm(sorted(describe(), key=lambda info: info.advanced))
        self.run = PushButton(text="Run")
        self.cancel = PushButton(text="Cancel", tooltip="Stop the run; nothing of it is kept", enabled=False)
        self.bar = ProgressBar(value=0, min=0, max=1000, visible=False, label="")
        self.save = PushButton(text="Save…", enabled=False)
        self.report = PushButton(text="Report…", enabled=False)
        self.keep = MenuButton(
            "More",
            [
                (
                    "Export…",
                    "Write it for another program: a table, QuPath, Loupe, SpatialData",
                    self._export,
                ),
                (
                    "Copy command",
                    "The `spotmix run` that makes this result in a terminal",
                    self._copy_command,
                ),
                ("Copy Python", "Python that makes this result", self._copy_python),
                (
                    "Layer per cell type",
                    "Add a layer of its own for each cell type, to be shown, blended and changed as you like",
                    self._add_layers,
                ),
            ],
        )
        self.state = plain_label()
        self.notes_text = plain_label()
        self.notes = FoldableSection(
            "Notes", self.notes_text, tip="What you should know about this result", open=False
        )
        self.more = FoldableSection(
            "Parameters",
            self.form,
            tip="The defaults suit most sections; what is left empty is learned from the data",
            open=False,
        )
        # magicgui's widgets live as long as somebody holds them.
        self._buttons = Container(
            widgets=[self.run, self.cancel, self.save, self.report], layout="horizontal", labels=False
        )
        self._buttons.margins = (0, 0, 0, 0)
        self._buttons.native.layout().addWidget(self.keep)
        add_all(self, self._buttons.native, self.bar.native, self.state, self.notes, self.more)
        self._runner = self._make_runner(self._finish)
        self._saver = self._make_runner(self._saved)
        self._reporter = self._make_runner(self._reported)
        self.run.changed.connect(self.start)
        self.cancel.changed.connect(self._cancel)
        self.save.changed.connect(self._choose_where_to_save)
        self.report.changed.connect(self._choose_where_to_report)
        self._connections.connect(session.data.tissue_changed, self._runner.cancel)
        self._connections.connect_each(*self._signals(), slot=self._show)
        self._connections.connect(session.result_replayed, self._show_notes)
        self._show()

    @property
    def summary(self) -> str:
        """One line on what was fitted."""
        result = self._session.result
        return "" if result is None else str(result.parameters.get("summary", ""))

    @property
    def is_running(self) -> bool:
        """Whether a run, a save or a report is on its way."""
        return any(runner.is_running for runner in self.runners)

    @property
    def runners(self) -> tuple[Runner, ...]:
        return self._runner, self._saver, self._reporter

    def hold(self, n_problems: int) -> None:
        """Hold back the run while so many problems keep the data from being used."""
        if n_problems == self._n_problems:
            return
        says_what_came = self.state.text() != self._idle
        self._n_problems = n_problems
        # How the last run ended stays to be read: the check has words of its own.
        if says_what_came:
            self._enable()
        else:
            self._show()

    @property
    def _obstacle(self) -> str | None:
        """What has to be done before a run, or None if nothing has."""
        if (missing := self._session.data.what_is_missing()) is not None or not self._n_problems:
            return missing
        them = "it" if self._n_problems == 1 else "them"
        return f"Check found {count(self._n_problems, 'problem')}. Fix {them} above, or choose other data."

    @property
    def _idle(self) -> str:
        """What is said while nothing has been run."""
        return self._obstacle or "Ready to run."

    @reporting
    def start(self) -> None:
        """Run, or tell all that is wrong with the form."""
        if self._obstacle is not None or self.is_running:
            return
        try:
            parameters = Parameters(**self.form.values())
        except InputError as error:
            self.more.set_open(True)  # where it can be put right
            self._fail(error)
            return
        self._started = time.monotonic()
        self._asked = session_job(self._session, parameters)
        self._runner.start(deconvolve_task(self._session, parameters))
        self._busy("Starting")

    def save_to(self, folder: Path) -> None:
        """Write the result into `folder`."""
        result, job, opened, how = self._shown_result(), self.job, self._opened(), self._reading()
        inputs: dict[str, Path | str] = {**opened}
        settings: dict[str, Any] = {"reading": asdict(how)}
        if isinstance(job, Job):
            inputs, settings, how = {**job.inputs}, tables_of(job), job.reading

        def task(on_progress: ProgressCallback) -> str:
            export.check_writable(folder, opened | inputs)
            sums = checksums(inputs, how, on_progress=on_progress)
            export.write_outputs(
                folder,
                adata=heard(result.to_anndata, "Gathering results", on_progress),
                proportions=result.proportions,
                recipe=make_recipe(sums, result.parameters, settings),
                on_progress=on_progress,
            )
            return f"Saved in {folder}"

        self._saver.start(task)
        self._busy("Saving")

    def report_to(self, path: Path) -> None:
        """Write the report of the result to `path`, and show it in the browser."""
        session = self._session
        assert session.result is not None
        title = session.data.tissue.name if session.data.tissue else ""
        self._reporter.start(report_task(session.result, self._opened(), self._reading(), title, path))
        self._busy("Reporting")

    def _opened(self) -> dict[str, Path]:
        """Return the files that are open, by role."""
        return self._session.data.files

    def _reading(self) -> Reading:
        """Return how the spots were read."""
        return self._session.data.tissue.reading if self._session.data.tissue else DEFAULT

    def export_to(self, path: Path, kind: str | None = None) -> None:
        """Write the result into a file for another program; see `exchange.export`."""
        result = self._shown_result()

        def task(on_progress: ProgressCallback) -> str:
            from napari_spotmix.output import exporters as exchange

            written = exchange.export(result, path, kind, on_progress=on_progress)
            return "\n".join([f"Exported to {written}", *exchange.export_notes(result, path, kind)])

        self._saver.start(task)
        self._busy("Exporting")

    @property
    def job(self) -> Job | str:
        """The job that makes the run's result, or why there is none."""
        learned = self._session.learned
        if learned is not None and self._made is not None and self._made[0] is learned.parameters:
            return self._made[1]
        return "This result was opened, not run here. `spotmix rerun` and its folder make it again."

    def _shown_result(self) -> Result:
        session = self._session
        assert session.result is not None
        return replace(session.result, regions=session.regions, view=session.view)

    # What a job tells

    def _make_runner(self, finished: Any) -> Runner:
        runner = Runner(self)
        runner.progressed.connect(self._tell)
        runner.finished.connect(finished)
        runner.failed.connect(self._fail)
        runner.cancelled.connect(self._was_cancelled)
        return runner

    def _tell(self, progress: Progress) -> None:
        self.bar.native.setRange(0, 1000 if progress.total else 0)
        self.bar.value = round(1000 * progress.fraction)
        step = f" {progress.step} of {progress.total}" if progress.total > 1 else ""
        self.state.setText(f"Running: {progress.stage}{step}")

    @reporting
    def _finish(self, result: Result) -> None:
        seconds = time.monotonic() - self._started
        self._made = (result.parameters, self._asked)
        self._session.set_result(result)
        self._rest(f"Finished in {seconds:.1f} s. {self.summary}")

    def _fail(self, error: BaseException) -> None:
        self._rest(f"Failed: {problem_text(error)}")
        show_problem(error)

    def _was_cancelled(self) -> None:
        self._rest("Cancelled. Nothing was changed.")

    def _saved(self, words: str) -> None:
        self._rest(words)

    def _reported(self, path: Path) -> None:
        self._rest(f"Report in {path}")
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))

    def _cancel(self) -> None:
        self.cancel.enabled = False
        self.state.setText("Cancelling…")
        for runner in self.runners:
            runner.cancel()

    # What is shown

    def _signals(self) -> tuple[Any, ...]:
        session = self._session
        return session.data.tissue_changed, session.data.reference_changed, session.result_changed

    def _busy(self, words: str) -> None:
        self.bar.native.setRange(0, 0)
        self.bar.visible = True
        self.state.setText(f"{words}…")
        self._enable()

    def _rest(self, words: str) -> None:
        self.bar.visible = False
        self.bar.native.setRange(0, 1000)
        self.state.setText(words)
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
        self.state.setText("Each cell type has a layer of its own, hidden: press its eye in napari's list.")

    def _enable(self) -> None:
        self.busy_changed.emit(self.is_running)
        obstacle = self._obstacle
        self.run.enabled = obstacle is None and not self.is_running
        self.run.tooltip = obstacle or (
            "A run is on its way" if self.is_running else "Estimate the cell types of each spot"
        )
        self.cancel.enabled = self.is_running
        self.save.enabled = self._session.result is not None and not self.is_running
        self.keep.setEnabled(self.save.enabled)
        self.keep.setToolTip(
            "Export it, copy what makes it again, or add a layer per cell type"
            if self.save.enabled
            else "There is no result yet: run first"
        )
        self.save.tooltip = (
            "Write spatial.h5ad, proportions.csv and recipe.toml into a folder"
            if self.save.enabled
            else "There is no result yet: run first"
        )
        self.report.enabled = self.save.enabled
        self.report.tooltip = (
            "Write the result as a page for the browser, and show it"
            if self.save.enabled
            else "There is no result yet: run first"
        )

    @reporting
    def _choose_where_to_save(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the result")
        if folder:
            self.save_to(Path(folder))

    @reporting
    def _choose_where_to_report(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "File for the report", export.REPORT, "Page (*.html)")
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

    def _copy(self, put: Callable[[Job], str], words: str) -> None:
        if isinstance(self.job, str):
            self.state.setText(self.job)
            return
        copy(put(self.job))
        adjusted = self._session.result is not self._session.learned
        self.state.setText(f"{words} What was adjusted after the run is not in it." if adjusted else words)
