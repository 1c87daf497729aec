"""The palette, as it is seen over stained tissue and with other kinds of color vision."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from napari_spotmix.base.colors import NICHE_PALETTE, PALETTE, cell_type_colors, niche_colors
from napari_spotmix.base.oklch import contrast, oklab

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


def test_all_of_the_palette_differ_with_any_vision() -> None:
    for vision in VISION:
        seen = lab(PALETTE, vision)
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen[:30], 2)) >= 12, vision
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 9, vision


def distances(colors: list[str], others: list[str] | None = None) -> np.ndarray:
    """Return distances in OKLab between colors; 0.02 is just noticeable."""
    seen = oklab(colors)
    if others is not None:
        return np.linalg.norm(seen[:, None] - oklab(others)[None], axis=2)
    between = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    return between[np.triu_indices(len(colors), k=1)]


@pytest.mark.parametrize(
    ("n_types", "least"), [(17, 0.085), (40, 0.065), (60, 0.06), (100, 0.05), (200, 0.03)]
)
def test_any_number_of_types_is_seen_and_distinguished(n_types: int, least: float) -> None:
    colors = list(cell_type_colors([f"type {at:03d}" for at in range(n_types)]).values())
    assert distances(colors).min() >= least
    assert contrast(colors, "#000000").min() >= 3, "on a black canvas"
    assert contrast(colors, "#ffffff").min() >= 1.5, "on glass"


def test_thousands_of_types_all_have_another_color() -> None:
    names = [f"type {at}" for at in range(3000)]
    assert len(set(cell_type_colors(names).values())) == 3000


def test_colors_do_not_depend_on_the_order_of_types() -> None:
    names = [f"type {at}" for at in range(60)]
    colors = cell_type_colors(names)
    assert list(colors) == names
    assert cell_type_colors(names[::-1]) == colors
    assert cell_type_colors([*names, "type 7"]) == colors


def test_colors_that_are_kept_are_given_to_no_other_type() -> None:
    kept = {"b": PALETTE[0].upper(), "c": "#123456", "gone": PALETTE[1]}
    assert cell_type_colors(["d", "c", "b", "a"], kept) == {
        "d": PALETTE[2],
        "c": "#123456",
        "b": PALETTE[0].upper(),
        "a": PALETTE[1],
    }


@pytest.mark.parametrize(("n_niches", "least"), [(6, 0.1), (10, 0.1), (20, 0.05)])
def test_niches_are_distinguished_and_none_is_taken_for_a_type(n_niches: int, least: float) -> None:
    colors = list(niche_colors(str(number) for number in range(1, n_niches + 1)).values())
    assert distances(colors).min() >= least
    assert contrast(colors, "#000000").min() >= 3
    assert contrast(colors, "#ffffff").min() >= 1.5
    assert distances(colors, list(PALETTE)).min() >= 0.055
    grounds = lab(STAINED)
    assert min(np.linalg.norm(grounds - one, axis=1).min() for one in lab(tuple(colors[:8]))) >= 25
    types, niches = oklab(PALETTE), oklab(colors)
    chroma = [np.hypot(one[:, 1], one[:, 2]) for one in (types, niches)]
    assert np.mean(chroma[0]) > 2 * np.mean(chroma[1]), "types are vivid, niches muted"


def test_a_niche_has_the_color_of_its_number() -> None:
    every = niche_colors(str(number) for number in range(1, 31))
    assert len(set(every.values())) == 30
    some = niche_colors(["7", "3", "stroma"])
    assert (some["7"], some["3"]) == (every["7"], every["3"])
    assert some["stroma"] not in NICHE_PALETTE
