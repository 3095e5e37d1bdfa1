"""Simulated radiographs and magnetic resonance studies of the knee, whose truth is known to the pixel."""

from fracturelib.simulate.image import simulate_image
from fracturelib.simulate.knee_tissues import TISSUES
from fracturelib.simulate.unseen import unseen_folder

__all__ = ["TISSUES", "simulate_image", "unseen_folder"]
