"""Simulated radiographs and magnetic resonance studies of the knee, whose truth is known to the pixel."""

from fracturelib.simulate.dataset import simulate_dataset
from fracturelib.simulate.image import simulate_image
from fracturelib.simulate.knee_set import simulate_knees
from fracturelib.simulate.knee_study import simulate_knee
from fracturelib.simulate.knee_tissues import TISSUES, spin_echo
from fracturelib.simulate.physics import attenuation
from fracturelib.simulate.unseen import unseen_folder

__all__ = [
    "TISSUES",
    "attenuation",
    "simulate_dataset",
    "simulate_image",
    "simulate_knee",
    "simulate_knees",
    "spin_echo",
    "unseen_folder",
]
