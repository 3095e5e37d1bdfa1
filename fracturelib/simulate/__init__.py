"""Simulated radiographs whose truth is known to the pixel."""

from fracturelib.simulate.dataset import image_of, make_image, plan_images, simulate_dataset
from fracturelib.simulate.image import SimulatedImage, image_formation, simulate_image
from fracturelib.simulate.physics import attenuation
from fracturelib.simulate.regions import REGIONS
from fracturelib.simulate.unseen import unseen_folder
from fracturelib.simulate.view import PathLengths, path_lengths

__all__ = [
    "REGIONS",
    "PathLengths",
    "SimulatedImage",
    "attenuation",
    "image_formation",
    "image_of",
    "make_image",
    "path_lengths",
    "plan_images",
    "simulate_dataset",
    "simulate_image",
    "unseen_folder",
]
