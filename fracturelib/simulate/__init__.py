"""Simulated radiographs and magnetic resonance studies of the knee, whose truth is known to the pixel."""

from fracturelib.simulate.dataset import image_of, make_image, plan_images, simulate_dataset
from fracturelib.simulate.image import image_formation, simulate_image
from fracturelib.simulate.knee_set import simulate_knees
from fracturelib.simulate.knee_study import simulate_knee
from fracturelib.simulate.knee_tissues import TISSUES, spin_echo
from fracturelib.simulate.physics import attenuation
from fracturelib.simulate.regions import REGIONS
from fracturelib.simulate.unseen import unseen_folder
from fracturelib.simulate.view import path_lengths

__all__ = [
    "REGIONS",
    "TISSUES",
    "attenuation",
    "image_formation",
    "image_of",
    "make_image",
    "path_lengths",
    "plan_images",
    "simulate_dataset",
    "simulate_image",
    "simulate_knee",
    "simulate_knees",
    "spin_echo",
    "unseen_folder",
]
