"""How a score of the minimizer changes with what the minimizer depends on.

At a minimizer ``X`` the free entries (``X > 0``) solve ``(H X = b)`` on themselves. With ``C = dE/dX``, one
more linear solve ``H Lambda = C`` on the free entries gives the derivative of ``E`` by every parameter of
``H`` at once: ``dE/dp = -<Lambda, (dH/dp) X>``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.model.solver.multigrid import Level

__all__ = ["solve_on_free"]

Array = NDArray[np.float64]

_MOST_STEPS = 300


def solve_on_free(
    level: Level, X: Array, C: Array, *, start: Array | None = None, precision: float = 1e-2
) -> Array:
    """Return ``Lambda`` with ``(H Lambda)_F = C_F`` on the free entries F of `X`, and 0 elsewhere.

    Conjugate gradients, preconditioned with each spot's own block.

    Parameters
    ----------
    level : Level
        Gives ``H``.
    X : ndarray of float64, shape (n_spots, n_cell_types)
        A minimizer.
    C : ndarray of float64, shape (n_spots, n_cell_types)
    start : ndarray of float64, shape (n_spots, n_cell_types), optional
        The start, e.g. the solution for a nearby problem; not modified.
    precision : float, optional
        Size of the residual at which to stop, relative to `C`.
    """
    free = X > 0
    target = np.where(free, C, 0.0)
    blocks = level.own_blocks(X)
    aim = precision**2 * _inner(target, level.solve_own_blocks(blocks, target))
    solution = np.zeros_like(C) if start is None else np.where(free, start, 0.0)
    residual = target - np.where(free, level.hessian_times(solution), 0.0)
    direction = level.solve_own_blocks(blocks, residual)
    size = _inner(residual, direction)
    for _ in range(_MOST_STEPS):
        if size <= aim:
            break
        image = np.where(free, level.hessian_times(direction), 0.0)
        step = size / _inner(direction, image)
        solution += step * direction
        residual -= step * image
        conditioned = level.solve_own_blocks(blocks, residual)
        last, size = size, _inner(residual, conditioned)
        direction = conditioned + (size / last) * direction
    return solution


def _inner(A: Array, B: Array) -> float:
    return float(np.einsum("nk,nk->", A, B))
