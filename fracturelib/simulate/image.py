"""One image: exposed, developed, and handed over with the truth about it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fracturelib._io.files import InputError
from fracturelib.simulate import objects
from fracturelib.simulate.patient import stream
from fracturelib.simulate.physics import Exposure, display, expose, transmit
from fracturelib.simulate.regions import Region, region_of
from fracturelib.simulate.view import PathLengths, path_lengths


@dataclass(frozen=True)
class SimulatedImage:
    """An image and the truth about it.

    `image` is uint8 (h, w); `masks` holds one uint8 0/1 (h, w) for each fracture visible in this projection;
    `metadata` what the manifest says of it.
    """

    image: np.ndarray
    masks: list[np.ndarray]
    metadata: dict[str, Any]


def draw_exposure(
    spec: Region, rng: np.random.Generator, *, kv: float | None = None, poor: bool | None = None
) -> Exposure:
    """Settings of an image as they vary from one to the next; `poor` underexposes it."""
    drawn = rng.uniform(*spec.kv)
    bad = rng.uniform() < 0.05
    bad = bad if poor is None else poor
    motion = rng.uniform(1.0, 2.2) if rng.uniform() < 0.05 else 0.0
    angle, heel = rng.uniform(0, np.pi, 2)
    return Exposure(
        float(drawn) if kv is None else kv,
        float(rng.uniform(3000, 10000) * (0.02 if bad else 1)),
        float(rng.uniform(0.12, 0.27)),
        float(rng.uniform(0.05, 0.2)),
        float(motion),
        float(angle),
        float(rng.uniform(0, 0.1)),
        float(2 * heel),
        float(rng.uniform(0.04, 0.12)),
        float(rng.uniform(0.85, 1.2)),
        float(rng.uniform(1.0, 1.35)) * (1.35 if bad else 1.0),
        float(rng.uniform(0.65, 1.25)),
        float(rng.uniform(0.32, 0.57) + max(drawn - 62, 0) / 70),
    )


def simulate_image(  # noqa: PLR0913, all but one are by name only
    region: str,
    *,
    seed: int,
    view: str | None = None,
    fracture: str | None = "random",
    kv: float | None = None,
    gap: float | None = None,
    severity: float | None = None,
    size: int = 320,
    image: int = 0,
    cast: bool | None = None,
    marker: bool | None = None,
    poor: bool | None = None,
) -> SimulatedImage:
    """One simulated radiograph.

    Parameters
    ----------
    region : str
        One of `REGIONS`.
    seed : int
        The patient. The same seed with another `view` or `image` is the same patient, broken in the same place.
    view : str, optional
        "frontal", "oblique" or "lateral", as far as the region has it, or "both": frontal and lateral on one image.
    fracture : str or None
        "random" (a patient as they come), "any" for some fracture, None for whole bones, or one of `fractures.KINDS`.
    kv : float, optional
        Tube voltage, 40 to 120; what is usual for the region if not given.
    gap : float, optional
        Width of the fracture's gap in mm (of a buckle fracture: its height).
    severity : float, optional
        Displacement, from 0 to 1.
    size : int
        Long side in pixels.
    image : int
        Number of the image of this patient: another position, exposure and noise.
    cast, marker, poor : bool, optional
        Force a cast, a lead marker or a poor exposure; as it comes if not given.

    Returns
    -------
    SimulatedImage

    Raises
    ------
    InputError
        If an argument is none of these.
    """
    if kv is not None and not 40 <= kv <= 120:
        raise InputError(f"kv is {kv}; expected 40 to 120")
    lengths = path_lengths(
        region, seed=seed, view=view, fracture=fracture, gap=gap, severity=severity, size=size, image=image, cast=cast,
        marker=marker,
    )  # fmt: skip
    rng = stream(seed, region, 11, image)
    exposure = draw_exposure(region_of(region), rng, kv=kv, poor=poor)
    return develop(lengths, exposure, rng)


@dataclass(frozen=True)
class Formation:
    """The steps by which a radiograph comes to be; all (h, w).

    `bone` and `soft` are path lengths in mm (float32), `transmission` is the proportion of the beam that gets
    through (0..1), `detector` what is measured of it after scatter, blur and noise, `image` the displayed image
    (uint8).
    """

    bone: np.ndarray
    soft: np.ndarray
    transmission: np.ndarray
    detector: np.ndarray
    image: np.ndarray
    masks: list[np.ndarray]


def formed(lengths: PathLengths, region: str, *, seed: int, kv: float) -> Formation:
    """Path lengths, attenuation at a voltage in kV, exposure, display; `region` and `seed` as of the path lengths."""
    if not 40 <= kv <= 120:
        raise InputError(f"kv is {kv}; expected 40 to 120")
    rng = stream(seed, region, 11, 0)
    exposure = draw_exposure(region_of(region), rng, kv=kv, poor=False)
    soft = lengths.paths["muscle"] + lengths.paths["fat"]
    primary = transmit(lengths.paths, kv)
    detector = expose(primary, exposure, pixel=lengths.pixel, thickness=soft + lengths.paths["bone"], rng=rng)
    image = display(detector, exposure, pixel=lengths.pixel)
    return Formation(lengths.paths["bone"], soft, primary, detector, image, lengths.masks)


def develop(lengths: PathLengths, exposure: Exposure, rng: np.random.Generator) -> SimulatedImage:
    """Expose and display what `path_lengths` found."""
    thickness = sum(lengths.paths[name] for name in ("bone", "muscle", "fat"))
    primary = transmit(lengths.paths, exposure.kv)
    frame = objects.draw_collimator(rng, primary.shape, lengths.pixel)
    signal = expose(primary * frame.beam, exposure, pixel=lengths.pixel, thickness=np.asarray(thickness), rng=rng)
    image = display(signal, exposure, pixel=lengths.pixel)
    image = np.where(frame.shutter, np.uint8(rng.integers(0, 14)), image).astype(np.uint8)
    masks = [m * ~frame.shutter for m in lengths.masks]
    masks = [m.astype(np.uint8) for m in masks if m.sum() >= 12]
    metadata = {**lengths.metadata, "kv": round(exposure.kv, 1)}
    if not masks:
        metadata |= {"fracture_type": "", "displacement": 0.0, "bone": ""}
    return SimulatedImage(image, masks, metadata)
