"""The palette, as it is seen over stained tissue and with other kinds of color vision."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from napari_spotmix.base.colors import PALETTE, cell_type_colors

#: Linear RGB as it is seen (Viénot, Brettel and Mollon 1999).
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    "protanopia": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
}
#: Glass, and what eosin and hematoxylin make of collagen, cytoplasm, muscle, pale and dense nuclei.
STAINED = ("#f4f2f4", "#e8b4cc", "#d9749c", "#c85a6e", "#b496c8", "#6a4c8f")
N_FIRST = 12
#: Two colors of CIELAB that are this far apart are told apart in small areas and at a glance.
CLEAR = 30.0


def lab(colors: tuple[str, ...], vision: str = "normal") -> np.ndarray:
    """Return CIELAB (D65) of hex colors, as somebody with that vision sees them."""
    srgb = np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ VISION[vision].T, 0, 1)
    to_xyz = np.array([[0.41246, 0.35758, 0.18044], [0.21267, 0.71515, 0.07218], [0.01933, 0.11919, 0.95030]])
    xyz = seen @ to_xyz.T / to_xyz.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_lightness_and_distance_are_those_of_the_standard() -> None:
    white, red = lab(("#ffffff", "#ff0000"))
    np.testing.assert_allclose(white, [100, 0, 0], atol=0.02)
    np.testing.assert_allclose(red, [53.24, 80.09, 67.20], atol=0.05)


@pytest.mark.parametrize(("vision", "least"), [("normal", 25), ("deuteranopia", 17), ("protanopia", 17)])
def test_first_colors_are_distinguished_with_any_vision(vision: str, least: float) -> None:
    seen = lab(PALETTE[:N_FIRST], vision)
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= least


def test_first_colors_are_seen_on_stained_tissue_and_glass() -> None:
    grounds = lab(STAINED)
    for color, seen in zip(PALETTE, lab(PALETTE[:N_FIRST]), strict=False):
        assert np.linalg.norm(grounds - seen, axis=1).min() >= CLEAR, color


def test_all_thirty_differ_with_any_vision() -> None:
    assert len(set(PALETTE)) == 30
    for vision in VISION:
        seen = lab(PALETTE, vision)
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 12, vision


def test_a_type_beyond_the_palette_starts_it_again() -> None:
    names = [f"type {at}" for at in range(31)]
    colors = cell_type_colors(names)
    assert list(colors) == names
    assert colors["type 30"] == colors["type 0"] == PALETTE[0]
