"""From tissue to picture: slices, imperfect fat saturation, the coil, motion, k-space, noise, and the display."""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from fracturelib.simulate.knee_space import Stack


@dataclass(frozen=True)
class Sequence:
    """How a study is taken. Times in ms.

    `fat_saturation` (0..1) is the part of the fat's signal that is taken away in the middle, where the field is even;
    `noise` the standard deviation of each of the two channels, relative to the signal of water; `lines` and `columns`
    which part of k-space is measured, 0..1; `motion` the largest displacement in mm; `coil` how fast the coil's
    sensitivity falls, 0..1; `shift` by how many pixels fat appears moved.
    """

    field: float
    tr: float
    te: float
    fat_saturation: float
    noise: float
    lines: float
    columns: float
    motion: float
    coil: float
    shift: float


def draw_sequence(field: float, rng: np.random.Generator) -> Sequence:
    """Settings as they vary from one hospital to the next: proton density with fat saturation."""
    low = field < 2
    return Sequence(
        field, float(rng.uniform(2600, 3800)), float(rng.uniform(26, 38)),
        float(np.clip(rng.normal(0.86 if low else 0.90, 0.04), 0.7, 0.97)),
        float((0.017 if low else 0.010) * rng.uniform(0.7, 1.4)),
        float(rng.uniform(0.72, 0.92)), float(rng.uniform(0.85, 1.0)),
        float(rng.uniform(0.6, 1.6) if rng.uniform() < 0.12 else rng.uniform(0, 0.3)),
        float(rng.uniform(0.35, 0.8)), float(rng.uniform(0.3, 0.8) * (1 if low else 2)),
    )  # fmt: skip


def scan(water: np.ndarray, fat: np.ndarray, stack: Stack, sequence: Sequence, rng: np.random.Generator) -> np.ndarray:
    """The magnitude picture of each slice: float32 (slices, height, width), relative to the signal of water."""
    shape = (stack.slices, stack.sub, stack.height, stack.width)
    water, fat = water.reshape(shape).mean(axis=1), fat.reshape(shape).mean(axis=1)
    coil, failed = _fields(stack, sequence, rng)
    left = np.clip(1 - sequence.fat_saturation * (1 - failed), 0, 1)
    spectrum = fft.fft2(water * coil, axes=(1, 2))
    columns = fft.fftfreq(stack.width).astype(np.float32)
    spectrum += fft.fft2(fat * left * coil, axes=(1, 2)) * np.exp(-2j * np.pi * columns * sequence.shift)
    spectrum = _measure(spectrum.astype(np.complex64), stack, sequence, rng)
    return np.abs(fft.ifft2(spectrum, axes=(1, 2))).astype(np.float32)


def _fields(stack: Stack, sequence: Sequence, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The coil's sensitivity (h, w) and where fat saturation fails (slices, h, w), both smooth: float32."""
    y, x = np.mgrid[-1 : 1 : stack.height * 1j, -1 : 1 : stack.width * 1j].astype(np.float32)
    x0, y0 = rng.normal(-0.05, 0.12, 2)
    reach = np.hypot(x - x0, 0.9 * (y - y0))
    coil = 1.25 / (1 + sequence.coil * reach**2.4)
    ring = 1 + 0.18 * sequence.coil * reach**2  # nearer to the coil's elements
    corner_x, corner_y = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.7, 1.1, 2)
    blob = np.exp(-(((x - corner_x) / 0.55) ** 2 + ((y - corner_y) / 0.4) ** 2))
    edges = np.clip(np.abs(y) - 0.8, 0, 1) * 1.2
    through = np.linspace(rng.uniform(0.2, 1), rng.uniform(0.2, 1), stack.slices, dtype=np.float32)[:, None, None]
    failed = np.clip(rng.uniform(0.05, 0.45) * blob * through + edges * rng.uniform(0, 0.6), 0, 0.9)
    return (coil * ring).astype(np.float32), failed.astype(np.float32)


def _measure(spectrum: np.ndarray, stack: Stack, sequence: Sequence, rng: np.random.Generator) -> np.ndarray:
    """What is measured of k-space: moved, noisy and cut off; the rest is filled with zeros."""
    _, h, w = spectrum.shape
    rows, columns = fft.fftfreq(h).astype(np.float32), fft.fftfreq(w).astype(np.float32)
    # Lines are measured one after the other, while the patient breathes and flinches.
    time = np.linspace(0, 1, h, dtype=np.float32)[np.argsort(np.argsort(rows))]
    swing = np.sin(2 * np.pi * (rng.uniform(2, 7) * time + rng.uniform()))
    flinch = (time > rng.uniform(0.15, 0.85)) * rng.normal(0, 0.5)
    moved = sequence.motion / stack.pixel * (0.5 * swing + flinch)
    spectrum = spectrum * np.exp(-2j * np.pi * rows * moved).astype(np.complex64)[:, None]
    noise = rng.standard_normal((*spectrum.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum = spectrum + noise * np.float32(sequence.noise * np.sqrt(h * w))
    kept = np.clip((sequence.lines - 2 * np.abs(rows)) * h / 2 + 1, 0, 1)[:, None]
    kept = kept * np.clip((sequence.columns - 2 * np.abs(columns)) * w / 2 + 1, 0, 1)
    return np.asarray(spectrum * kept.astype(np.float32))


def display(image: np.ndarray, white: float) -> np.ndarray:
    """The reader's window: uint8, from 0 for no signal to 255 for `white` and all that is brighter."""
    return np.clip(image * np.float32(255 / white) + 0.5, 0, 255).astype(np.uint8)
