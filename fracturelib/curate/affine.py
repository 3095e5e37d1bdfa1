"""Which map carries most points of one image to those of another: each with place, size and angle."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LEAST_POINTS = 5  # fewer agree by chance


def fitted(p: Floats, q: Floats) -> tuple[NDArray[np.float64], int, float] | None:
    """The affine map that carries most of the points p to q.

    Each pair of points, having size and angle, proposes one map; the one that most others agree with is refined.

    Returns
    -------
    affine (2, 3), how many points meet, and their median distance; None if fewer than `LEAST_POINTS` agree
    """
    if len(p) < LEAST_POINTS:
        return None
    here, there = p[:, 0] + 1j * p[:, 1], q[:, 0] + 1j * q[:, 1]
    size, turn = np.log(q[:, 2] / p[:, 2]), np.radians(q[:, 3] - p[:, 3])
    factor = np.exp(size + 1j * turn)
    far = np.abs(factor[:, None] * (here[None] - here[:, None]) + there[:, None] - there[None])
    turned = np.abs((turn[:, None] - turn[None] + np.pi) % (2 * np.pi) - np.pi)
    agree = (far < 6) & (np.abs(size[:, None] - size[None]) < 0.4) & (turned < 0.45)
    met = agree[agree.sum(axis=1).argmax()]
    affine, off = np.zeros((2, 3)), np.zeros(len(p))
    for limit in (6, 4, 3, 2):
        if met.sum() < LEAST_POINTS:
            return None
        affine = _similarity(here[met], there[met]) if limit == 6 or met.sum() < 8 else _affine(p[met], q[met])
        off = np.hypot(*(affine[:, :2] @ p[:, :2].T + affine[:, 2:] - q[:, :2].T))
        closer = off < limit
        # With few points a strict limit would throw away what a slightly better map would keep.
        met = closer if closer.sum() >= LEAST_POINTS else met
    return affine, int(met.sum()), float(np.median(off[met]))


def _similarity(here: NDArray[np.complexfloating], there: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    centre, target = here.mean(), there.mean()
    apart = here - centre
    factor = np.vdot(apart, there - target) / max(float(np.vdot(apart, apart).real), 1e-9)
    shift = target - factor * centre
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _affine(p: Floats, q: Floats) -> NDArray[np.float64]:
    ones = np.column_stack([p[:, :2].astype(np.float64), np.ones(len(p))])
    return np.linalg.lstsq(ones, q[:, :2].astype(np.float64), rcond=None)[0].T
