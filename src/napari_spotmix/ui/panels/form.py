"""The form of a run's parameters, made from their descriptions in `params`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, LineEdit, SpinBox
from magicgui.widgets.bases import ValueWidget

from napari_spotmix.base.errors import InputError
from napari_spotmix.params import ParameterInfo
from napari_spotmix.ui.panels.section import Form

__all__ = ["ParameterForm"]

_LARGEST = 2**31 - 1


class ParameterForm(Form):
    """One field per parameter: label, tooltip with unit, bounds and choices come from `params`."""

    def __init__(self, parameters: Iterable[ParameterInfo]) -> None:
        self._parameters = {info.name: info for info in parameters}
        self.fields = {name: _field(info) for name, info in self._parameters.items()}
        super().__init__(self.fields.values())

    def values(self) -> dict[str, Any]:
        """Return the values of the fields, by name.

        Raises
        ------
        InputError
            For each field that holds no number but needs one, or a number out of bounds. It is called by its
            name and by its label in the form.
        """
        values = {name: _value(info, self.fields[name].value) for name, info in self._parameters.items()}
        found = ((info, info.problem(values[name])) for name, info in self._parameters.items())
        problems = [
            text.replace(f"`{info.name}`", f"`{info.name}` ({info.label})", 1) for info, text in found if text
        ]
        if problems:
            raise InputError(problems)
        return values


def _field(info: ParameterInfo) -> ValueWidget[Any]:
    settings: dict[str, Any] = {"name": info.name, "label": info.label, "tooltip": _tooltip(info)}
    if info.choices:
        return ComboBox(choices=info.choices, value=info.default, **settings)
    if info.kind is bool:
        box = CheckBox(value=info.default, **settings)
        box.native.setText("")  # its label is in the left column, as for every other field
        return box
    if info.kind is int and not info.optional:
        least = int(info.minimum) if info.minimum is not None else -_LARGEST
        most = int(info.maximum) if info.maximum is not None else _LARGEST
        return SpinBox(value=info.default, min=least, max=most, **settings)
    # Small numbers such as 1e-6 are written, not spun.
    field = LineEdit(value="" if info.default is None else f"{info.default:g}", **settings)
    field.native.setPlaceholderText("learned" if info.optional else "")
    return field


def _value(info: ParameterInfo, given: Any) -> Any:
    """Return what was typed as a number if one is needed, or unchanged if it is not a number."""
    if not isinstance(given, str) or info.kind is str:
        return given
    if info.optional and not given.strip():
        return None
    try:
        return info.kind(given)
    except ValueError:
        return given


def _tooltip(info: ParameterInfo) -> str:
    low, high = info.minimum, info.maximum
    bounds = ""
    if low is not None and high is not None:
        bounds = f"{low:g} to {high:g}"
    elif low is not None:
        bounds = f"at least {low:g}"
    details = ", ".join(part for part in (bounds, info.unit) if part)
    return f"{info.help} ({details})" if details else info.help
