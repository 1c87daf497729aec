"""Colors that look different, in lists of any length: lightness, chroma and hue in OKLab (Ottosson 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["contrast", "extended", "oklab"]

Floats = NDArray[np.float64]

_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
#: Least contrast of a color on a black canvas and on white.
_ON_BLACK, _ON_WHITE = 3.0, 1.5
_LIGHTNESS = (0.48, 0.86)
#: Parts of a turn and of a range by which candidates advance: multiples of them never lie close together.
_TURN, _LIGHTER, _STRONGER = 0.3819660113, 0.7548776662, 0.5698402910
#: Candidates to choose from, and how many colors are chosen for their distance from all before them.
_FEWEST_CANDIDATES, _FAR_APART = 4096, 256


def _linear(colors: Sequence[str]) -> Floats:
    srgb = np.array([list(bytes.fromhex(color[1:])) for color in colors], dtype=float).reshape(-1, 3) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def oklab(colors: Sequence[str]) -> Floats:
    """Return OKLab of colors "#rrggbb", float64 (n, 3): lightness 0 to 1, and two axes of hue and chroma.

    Examples
    --------
    >>> oklab(["#ffffff", "#ff0000"]).round(2).tolist()
    [[1.0, 0.0, 0.0], [0.63, 0.22, 0.13]]
    """
    return np.asarray(np.cbrt(_linear(colors) @ _TO_CONES.T) @ _TO_LAB.T)


def contrast(colors: Sequence[str], ground: str) -> Floats:
    """Return the contrast of colors with a ground, as WCAG defines it, 1 to 21.

    Examples
    --------
    >>> contrast(["#ffffff", "#000000"], "#000000").round().tolist()
    [21.0, 1.0]
    """
    own, other = _linear(colors) @ _LUMINANCE + 0.05, _linear([ground]) @ _LUMINANCE + 0.05
    return np.asarray(np.maximum(own, other) / np.minimum(own, other))


@lru_cache(maxsize=16)
def extended(palette: tuple[str, ...], n_colors: int, chroma: tuple[float, float]) -> tuple[str, ...]:
    """Return a palette followed by new colors, each at the largest distance from all before it.

    Parameters
    ----------
    palette : tuple of str
        "#rrggbb".
    n_colors : int
    chroma : (float, float)
        Least and largest chroma of new colors in OKLCH.

    Returns
    -------
    tuple of str, n_colors
        All different.

    Examples
    --------
    >>> extended(("#e69f00",), 3, (0.1, 0.22))[0], len(set(extended(("#e69f00",), 500, (0.1, 0.22))))
    ('#e69f00', 500)
    """
    n_new = n_colors - len(palette)
    if n_new <= 0:
        return palette[:n_colors]
    pool = _candidates(max(_FEWEST_CANDIDATES, 8 * n_colors), chroma, palette)
    points = oklab(pool)
    distance = np.full(len(pool), np.inf)
    for seen in oklab(palette):
        distance = np.minimum(distance, np.linalg.norm(points - seen, axis=1))
    chosen: list[int] = []
    for _ in range(min(n_new, _FAR_APART)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    # More are not distinguished by eye: they only have to differ.
    left = np.setdiff1d(np.arange(len(pool)), chosen)[: n_new - len(chosen)]
    return (*palette, *(pool[at] for at in [*chosen, *left]))


def _candidates(number: int, chroma: tuple[float, float], known: Sequence[str]) -> list[str]:
    """Return about half that many colors by the golden angle, all in sRGB and seen on black and on white."""
    at = np.arange(1, number + 1)
    lightness = _LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * (at * _LIGHTER % 1)
    strength = chroma[0] + (chroma[1] - chroma[0]) * (at * _STRONGER % 1)
    hue = 2 * np.pi * (at * _TURN % 1)
    lab = np.column_stack([lightness, strength * np.cos(hue), strength * np.sin(hue)])
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_CONES).T
    linear = linear[((linear >= 0) & (linear <= 1)).all(axis=1)]
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    found = dict.fromkeys("#" + row.tobytes().hex() for row in np.rint(255 * srgb).astype(np.uint8))
    colors = [color for color in found if color not in known]
    is_seen = (contrast(colors, "#000000") >= _ON_BLACK) & (contrast(colors, "#ffffff") >= _ON_WHITE)
    return [color for color, seen in zip(colors, is_seen, strict=True) if seen]
