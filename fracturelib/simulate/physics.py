"""From path lengths to an image: attenuation, scatter, blur, noise, and the detector's display curve.

Mass attenuation coefficients: Hubbell & Seltzer, X-Ray Mass Attenuation Coefficients, NIST Standard Reference Database
126 (doi 10.18434/T4D01F), tables 3 and 4, with the compositions of ICRU Report 44 for tissues.
"""

from dataclasses import dataclass

import cv2
import numpy as np

ENERGIES = np.array([15.0, 20, 30, 40, 50, 60, 80, 100, 150])  # keV
_MASS = {  # cm2/g at ENERGIES
    "bone": [9.032, 4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480],
    "muscle": [1.693, 0.8205, 0.3783, 0.2685, 0.2262, 0.2048, 0.1823, 0.1693, 0.1492],
    "fat": [1.083, 0.5677, 0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688, 0.1500],
    "aluminium": [7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378],
    "titanium": [35.87, 15.85, 4.972, 2.214, 1.213, 0.7661, 0.4052, 0.2721, 0.1649],
    "iron": [57.08, 25.68, 8.176, 3.629, 1.958, 1.205, 0.5952, 0.3717, 0.1964],
    "lead": [111.6, 86.36, 30.32, 14.36, 8.041, 5.021, 2.419, 5.549, 2.014],
}
DENSITY = {
    "bone": 1.92,
    "muscle": 1.05,
    "fat": 0.95,
    "aluminium": 2.699,
    "titanium": 4.54,
    "iron": 7.874,
    "lead": 11.35,
}  # g/cm3
MATERIALS = tuple(_MASS)
FILTER_MM = 2.7  # of aluminium, in the tube


def attenuation(material: str, energy: np.ndarray) -> np.ndarray:
    """Linear attenuation coefficient in 1/mm at `energy` (keV), interpolated log-log."""
    mass = np.exp(np.interp(np.log(energy), np.log(ENERGIES), np.log(_MASS[material])))
    return mass * DENSITY[material] / 10


def spectrum(kv: float, bins: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Energies (keV) and proportion of the detected signal of a filtered tungsten tube at `kv`.

    Kramers' law, N(E) ~ (kV - E) / E, behind the tube's filter; the detector weighs a photon by its energy.
    """
    energy = np.linspace(16, kv - 0.5, 120)
    weight = (kv - energy) * np.exp(-attenuation("aluminium", energy) * FILTER_MM)
    cells = np.minimum((np.cumsum(weight) / weight.sum() * bins).astype(int), bins - 1)
    share = np.bincount(cells, weight, bins)
    return np.bincount(cells, weight * energy, bins) / share, share / share.sum()


def transmit(paths: dict[str, np.ndarray], kv: float) -> np.ndarray:
    """Proportion of the primary beam that gets through: float32 (h, w) in 0..1.

    Parameters
    ----------
    paths : dict of str to ndarray
        Path length in mm through each of `MATERIALS`, float (h, w).
    kv : float
        Tube voltage, 40 to 120.
    """
    energies, shares = spectrum(kv)
    total = np.zeros(1, np.float32)
    for energy, share in zip(energies, shares, strict=True):
        depth = sum(path * np.float32(attenuation(name, energy)) for name, path in paths.items())
        total = total + np.float32(share) * np.exp(-np.minimum(depth, 40))
    return total.astype(np.float32)


@dataclass(frozen=True)
class Exposure:
    """How an image is taken: tube voltage, relative dose, blur (mm), scatter, motion (mm), and the display's window."""

    kv: float
    photons: float = 1500.0  # per pixel behind the middle of the body: an automatic exposure holds it
    blur: float = 0.25
    scatter: float = 0.12
    motion: float = 0.0
    motion_angle: float = 0.0
    heel: float = 0.06
    heel_angle: float = 0.0
    dark: float = 0.07  # display value of the open beam
    gamma: float = 1.0
    white: float = 1.0  # where the display saturates, relative to the densest 1 %
    sharpen: float = 0.5
    flatten: float = 0.25  # proportion of the slow changes of density that the display takes out


def expose(
    primary: np.ndarray, exposure: Exposure, *, pixel: float, thickness: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What the detector reads: primary and scattered beam, blurred, with the tube's heel effect and quantum noise."""
    h, w = primary.shape
    small = cv2.resize(primary, (max(w // 8, 1), max(h // 8, 1)), interpolation=cv2.INTER_AREA)
    haze = cv2.resize(cv2.GaussianBlur(small, (0, 0), 25 / (8 * pixel)), (w, h), interpolation=cv2.INTER_CUBIC)
    signal = primary + exposure.scatter * haze * (1 - np.exp(-thickness / 60))
    signal = cv2.GaussianBlur(signal, (0, 0), max(exposure.blur / pixel, 0.3))
    if exposure.motion > pixel:
        signal = cv2.filter2D(signal, -1, _streak(exposure.motion / pixel, exposure.motion_angle))
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    signal = signal * (1 + exposure.heel * (np.cos(exposure.heel_angle) * x + np.sin(exposure.heel_angle) * y))
    body = thickness > 10
    through = float(np.median(signal[body])) if body.any() else 1.0
    dose = min(exposure.photons / max(through, 1e-4), 2e6)
    counts = np.maximum(signal * np.float32(dose), 1)
    noise = rng.standard_normal((h, w), dtype=np.float32)
    return (counts + np.sqrt(counts) * noise).astype(np.float32).clip(1) / np.float32(dose)


def _streak(length: float, angle: float) -> np.ndarray:
    half = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * half + 1,) * 2, np.float32)
    tip = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    a, b = (half - tip).round(1), (half + tip).round(1)
    cv2.line(kernel, tuple(int(v * 16) for v in a), tuple(int(v * 16) for v in b), 1.0, 1, cv2.LINE_AA, 4)
    return kernel / kernel.sum()


def display(signal: np.ndarray, exposure: Exposure, *, pixel: float) -> np.ndarray:
    """The reader's picture: logarithm, a window, unsharp masking, dense is bright. uint8 (h, w)."""
    density = -np.log(np.maximum(signal, 1e-4))
    slow = cv2.GaussianBlur(
        cv2.resize(density, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA), (0, 0), 3.0 / pixel
    )
    slow = cv2.resize(slow, density.shape[::-1], interpolation=cv2.INTER_CUBIC)
    density = density - np.float32(exposure.flatten) * np.minimum(slow, density)
    top = np.percentile(density, 99.5) * exposure.white
    value = (density / max(float(top), 0.3)).astype(np.float32)
    value = value + exposure.sharpen * (value - cv2.GaussianBlur(value, (0, 0), 2.5 / pixel))
    value = np.maximum(value, 0) ** exposure.gamma
    value = exposure.dark + (1 - exposure.dark) * value
    value = np.where(value > 0.8, 0.8 + 0.2 * np.tanh((value - 0.8) / 0.2), value)  # the shoulder of the curve
    return (np.clip(value, 0, 1) * 255).astype(np.uint8)
