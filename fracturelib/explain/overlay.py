"""Heat maps on images: upsampled, scaled, and laid over."""

import cv2
import numpy as np
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import Maps


def upsample(heat: Maps, size: int | tuple[int, int]) -> Maps:
    """A map at the size of the image, bilinearly: (h', w') float32 -> (size, size), or (height, width), float32.

    Examples
    --------
    >>> upsample(np.eye(2, dtype=np.float32), 4).shape
    (4, 4)
    """
    height, width = (size, size) if isinstance(size, int) else size
    large = cv2.resize(np.ascontiguousarray(heat, dtype=np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.float32)


def highest_of(heat: Maps) -> float:
    """The strongest evidence of a map, 0 if there is none. Raises InputError if a value is not finite."""
    if not np.isfinite(heat).all():
        raise InputError(f"heat has {int((~np.isfinite(heat)).sum())} values that are not finite; expected numbers")
    return float(np.max(heat, initial=0.0))


def normalise(heat: Maps) -> tuple[Maps, bool]:
    """A map for the eye, 0..1: negative evidence is 0, the map's own maximum is 1.

    Returns
    -------
    map : (h, w) float32 in 0..1
    positive : bool
        Whether there is any evidence. If not, the map is all 0: it is never stretched to look like something.

    Raises
    ------
    InputError
        If a value of the map is not finite: that is no absence of evidence.

    Examples
    --------
    >>> normalise(np.array([[-1, 1], [2, 4]], np.float32))
    (array([[0.  , 0.25],
           [0.5 , 1.  ]], dtype=float32), True)
    """
    highest = highest_of(heat)
    if highest <= 0:
        return np.zeros_like(heat, dtype=np.float32), False
    return np.clip(heat / highest, 0, 1).astype(np.float32), True


def overlay(image: NDArray[np.uint8], heat: Maps, *, opacity: float = 0.5) -> NDArray[np.uint8]:
    """Heat over image. Where there is no evidence the image is left as it is.

    Parameters
    ----------
    image : (h, w) uint8
    heat : (h, w) float32 in 0..1
    opacity : float
        Of the strongest evidence, 0..1; weaker evidence is as much more transparent.

    Returns
    -------
    (h, w, 3) uint8 RGB
    """
    if image.shape != heat.shape:
        raise InputError(f"heat has shape {heat.shape}; expected that of the image, {image.shape}")
    highest_of(heat)
    levels = np.clip(np.round(heat * 255), 0, 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    weight = (opacity * np.maximum(heat, 0)).astype(np.float32)[..., None]
    grey = np.repeat(image[..., None], 3, axis=2)
    return np.clip(np.round(grey * (1 - weight) + colours * weight), 0, 255).astype(np.uint8)
