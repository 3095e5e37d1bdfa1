"""Simulated radiographs whose truth is known to the pixel."""

from fracturelib.simulate.anatomy import REGIONS
from fracturelib.simulate.dataset import simulate_dataset
from fracturelib.simulate.film import PathLengths, SimulatedImage, path_lengths, simulate_image

__all__ = ["REGIONS", "PathLengths", "SimulatedImage", "path_lengths", "simulate_dataset", "simulate_image"]
