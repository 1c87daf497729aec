"""Errors as napari's notifications."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from napari.utils.notifications import show_error
from psygnal import EmitLoopError

from napari_spotmix.base.errors import InputError, ReadError, shown_path
from napari_spotmix.base.text import LONGEST_MESSAGE, shortened
from napari_spotmix.ui.text import plain

__all__ = ["problem_text", "reporting", "show_problem"]

_P = ParamSpec("_P")

_log = logging.getLogger(__name__)


def problem_text(error: BaseException) -> str:
    """Return the message of an error: that of our own errors as it is, any other with its kind.

    Examples
    --------
    >>> problem_text(InputError("`alpha` must be at least 0."))
    '`alpha` must be at least 0.'
    >>> problem_text(KeyError("x"))
    "Unexpected error (KeyError): 'x'"
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return "Not enough memory. Close other programs, or use fewer genes."
    return f"Unexpected error ({type(error).__name__}): {error}"


def _notification_text(error: BaseException) -> str:
    """Return the message in short: napari shows its first 40 letters, so it does not begin with a folder.

    Examples
    --------
    >>> _notification_text(ReadError("/data/section/gut.h5ad", "is empty."))
    'gut.h5ad: is empty.'
    """
    text = problem_text(error)
    if isinstance(error, ReadError):
        text = text.replace(shown_path(error.path), shown_path(error.path.name or error.path), 1)
    return shortened(text, LONGEST_MESSAGE)


def show_problem(error: BaseException) -> None:
    """Report an error in napari; an unexpected one is also logged with its traceback."""
    if not isinstance(error, InputError):
        _log.error("Unexpected error", exc_info=error)
    show_error(plain(_notification_text(error)))


def reporting(slot: Callable[_P, None]) -> Callable[_P, None]:
    """Make a slot report its errors: one that leaves a slot can abort the process under PyQt6."""

    @wraps(slot)
    def reported(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            slot(*args, **kwargs)
        except EmitLoopError as error:  # psygnal wraps the error of a slot
            show_problem(error.__cause__ or error)
        except Exception as error:
            show_problem(error)

    return reported
