"""Simulated radiographs whose truth is known to the pixel."""

from fracturelib.simulate.dataset import film_of, make_film, plan_films, simulate_dataset
from fracturelib.simulate.film import Formation, SimulatedImage, film_formation, simulate_image
from fracturelib.simulate.physics import attenuation
from fracturelib.simulate.regions import REGIONS
from fracturelib.simulate.view import PathLengths, path_lengths

__all__ = [
    "REGIONS",
    "Formation",
    "PathLengths",
    "SimulatedImage",
    "attenuation",
    "film_formation",
    "film_of",
    "make_film",
    "path_lengths",
    "plan_films",
    "simulate_dataset",
    "simulate_image",
]
