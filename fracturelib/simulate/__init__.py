"""Simulated radiographs whose truth is known to the pixel."""

from fracturelib.simulate.anatomy import REGIONS
from fracturelib.simulate.dataset import film_of, make_film, plan_films, simulate_dataset
from fracturelib.simulate.film import (
    Formation,
    PathLengths,
    SimulatedImage,
    film_formation,
    path_lengths,
    simulate_image,
)

__all__ = [
    "REGIONS",
    "Formation",
    "PathLengths",
    "SimulatedImage",
    "film_formation",
    "film_of",
    "make_film",
    "path_lengths",
    "plan_films",
    "simulate_dataset",
    "simulate_image",
]
