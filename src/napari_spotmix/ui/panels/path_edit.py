"""A path to type or to choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, PushButton
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.text import quoted
from napari_spotmix.base.urls import is_url, shown_url
from napari_spotmix.ui.text import plain

__all__ = ["PathEdit"]

_NO_URLS = (
    "{} is a URL. Files and folders of this computer can be chosen here: download it first, or run "
    "`spotmix run` on the command line, which takes URLs. Nothing was fetched."
)


class PathEdit(FileEdit):
    """A path to type or to choose; `chosen` is called once it is complete, not at every key.

    Parameters
    ----------
    chosen : callable
        Takes the Path.
    refused : callable
        Takes the error if the text is a URL.
    cleared : callable, optional
        Called once the field is empty.
    folders : str
        What a folder is called that can be chosen too, with a button of its own; "" for none.
    """

    def __init__(
        self,
        chosen: Callable[[Path], Any],
        refused: Callable[[InputError], Any],
        *,
        cleared: Callable[[], Any] | None = None,
        folders: str = "",
        **settings: Any,
    ) -> None:
        super().__init__(mode=FileDialogMode.EXISTING_FILE, nullable=True, **settings)
        self._chosen, self._refused, self._cleared = chosen, refused, cleared
        self._last: Path | None = None
        self.choose_btn.text = "File…"
        if folders:
            self.folder_btn = PushButton(text="Folder…", tooltip=f"Choose a {folders}")
            self._folders = folders
            self.folder_btn.changed.connect(self._choose_folder)
            self.native.layout().addWidget(self.folder_btn.native)
        self.line_edit.native.setClearButtonEnabled(True)
        self._is_typing = False
        self.line_edit.native.textEdited.connect(self._typed)  # comes before `changed`, and only for keys
        self.line_edit.native.editingFinished.connect(self._complete)
        self.line_edit.changed.connect(self._set_or_typed)

    @property
    def path(self) -> Path | None:
        """The path in the field."""
        return self.value if isinstance(self.value, Path) else None

    def reflect(self, path: Path | None, hint: str) -> None:
        """Show which path is in use, without reading it again, or a hint if there is none."""
        self._last = path
        self.line_edit.native.setPlaceholderText(hint)
        self.line_edit.native.setToolTip("" if path is None else plain(str(path)))
        if self.path != path:
            with self.line_edit.changed.blocked():
                self.line_edit.value = "" if path is None else str(path)

    def forget(self) -> None:
        """Take the same path again when it is next given, as after an error."""
        self._last = None

    def set_value(self, value: Any) -> None:
        """Set the path; the same path is taken again after an error."""
        super().set_value(value)
        if hasattr(self, "_is_typing"):  # the constructor sets a value too
            self._complete()

    def _choose_folder(self) -> None:
        start = str(self.path) if self.path else ""
        folder = QFileDialog.getExistingDirectory(self.native, self._folders, start)
        if folder:
            self.value = Path(folder)

    def _typed(self) -> None:
        self._is_typing = True

    def _set_or_typed(self) -> None:
        if not self._is_typing:
            self._complete()

    def _complete(self) -> None:
        self._is_typing = False
        path = self.path
        if path is None and self._cleared is not None:
            self._last = None
            self._cleared()
            return
        if path == self._last:
            return
        self._last = path
        if is_url(self.line_edit.value):
            self._refused(InputError(_NO_URLS.format(quoted(shown_url(self.line_edit.value)))))
        elif path is not None:
            self._chosen(path)
