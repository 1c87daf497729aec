"""Connections of signals to slots, undone together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from qtpy.QtCore import QMetaObject, QObject

__all__ = ["Connections", "SignalLike"]


class SignalLike(Protocol):
    """A signal of psygnal, of Qt, or an event emitter of napari."""

    def connect(self, slot: Callable[..., Any], /) -> Any:
        """Call a slot whenever the signal is emitted."""

    def disconnect(self, slot: Callable[..., Any], /) -> Any:
        """Call it no longer."""


class Connections:
    """Keeps what it has connected, and disconnects it at once.

    Examples
    --------
    >>> from psygnal import SignalInstance
    >>> moved, seen, connections = SignalInstance((int,)), [], Connections()
    >>> connections.connect(moved, seen.append)
    >>> moved.emit(1)
    >>> connections.disconnect_all()
    >>> moved.emit(2)
    >>> seen
    [1]
    """

    def __init__(self) -> None:
        self._undo: list[Callable[[], Any]] = []

    def __len__(self) -> int:
        return len(self._undo)

    def connect(self, signal: SignalLike, slot: Callable[..., Any]) -> None:
        """Connect a signal to a slot until `disconnect_all`."""
        made = signal.connect(slot)
        if isinstance(made, QMetaObject.Connection):
            # Safe even if the sender has been deleted: its signal would point to freed memory.
            self._undo.append(lambda: QObject.disconnect(made))
        else:
            self._undo.append(lambda: signal.disconnect(slot))

    def connect_each(self, *signals: SignalLike, slot: Callable[..., Any]) -> None:
        """Connect several signals to the same slot."""
        for signal in signals:
            self.connect(signal, slot)

    def on_disconnect(self, undo: Callable[[], Any]) -> None:
        """Undo something that no signal stands for, such as a key that was bound."""
        self._undo.append(undo)

    def disconnect_all(self) -> None:
        """Disconnect everything, the newest first; a second call does nothing."""
        while self._undo:
            self._undo.pop()()
