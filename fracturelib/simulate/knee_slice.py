"""One slice of a simulated knee as proportions of tissues, from which the picture of any spin echo follows at once."""

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from fracturelib._io.files import InputError
from fracturelib.simulate.knee_anatomy import Build, paint_bands, paint_bones, paint_flesh, paint_joint, paint_skin
from fracturelib.simulate.knee_injury import paint_effusion
from fracturelib.simulate.knee_ligament import TEARS, paint_acl
from fracturelib.simulate.knee_paint import Canvas, Texture
from fracturelib.simulate.knee_space import KneePose, Space, Stack, make_space
from fracturelib.simulate.knee_tissues import TISSUES

BUILD = Build(fat=7.0, muscle=1.0, cartilage=1.0, red_marrow=0.3)
FIELD_OF_VIEW, THICK, OFFSET, EFFUSION = 130.0, 3.0, 2.0, 5.0  # mm


@dataclass(frozen=True, eq=False)
class KneeSlice:
    """A sagittal slice of a knee before it is measured.

    Attributes
    ----------
    tissues : tuple of str
        k of `TISSUES`: those that the slice holds.
    proportions : (k, height, width) float32
        How much of each pixel is which tissue, 0..1; the sum is 1 in the knee, a little less or more where marrow is
        uneven, and 0 in the air. Rows from head to foot, columns from front to back.
    pixel_mm : float
        Between the middles of pixels.
    """

    tissues: tuple[str, ...]
    proportions: np.ndarray
    pixel_mm: float

    def signal(self, *, tr: float, te: float, fat_saturation: float = 0.0) -> np.ndarray:
        """The signal of a spin echo without noise: (height, width) float32, relative to water with full magnetization.

        At 3 tesla. Parameters are those of `KneeTissue.signal`.

        Examples
        --------
        >>> knee = knee_slice(size=64)
        >>> knee.signal(tr=3000, te=30).shape
        (64, 64)
        """
        values = tissue_signals(self.tissues, tr=tr, te=te, fat_saturation=fat_saturation)
        return np.asarray(np.tensordot(values.astype(np.float32), self.proportions, axes=1))


def tissue_signals(tissues: tuple[str, ...], *, tr: float, te: float, fat_saturation: float = 0.0) -> np.ndarray:
    """The signal of each of some tissues at 3 tesla by `KneeTissue.signal`: k names of `TISSUES` -> (k,) float64.

    Raises InputError as that does, or if there are no values for a tissue.

    Examples
    --------
    >>> tissue_signals(("fluid", "fat"), tr=3000, te=30, fat_saturation=0.9).round(3).tolist()
    [0.531, 0.098]
    """
    for name in tissues:
        if name not in TISSUES:
            raise InputError(f"tissues holds {name!r}; expected some of {', '.join(TISSUES)}")
    return np.array([TISSUES[name].signal(tr=tr, te=te, fat_saturation=fat_saturation) for name in tissues])


def knee_slice(seed: int = 0, *, tear: str = "none", size: int = 256, offset: float = OFFSET) -> KneeSlice:
    """A slice of a simulated knee with some fluid in the joint, by default through the anterior cruciate ligament.

    Parameters
    ----------
    seed : int
        The patient.
    tear : str
        Of the anterior cruciate ligament: "none", "degenerated", "partial" or "complete".
    size : int
        Rows and columns, 32 to 512.
    offset : float
        From the knee's middle to its outer side, in mm, -40 to 40. At 20 the slice passes through a meniscus.

    Returns
    -------
    KneeSlice

    Raises
    ------
    InputError
        If an argument is none of these.

    Examples
    --------
    >>> knee = knee_slice(size=64)
    >>> knee.proportions.shape == (len(knee.tissues), 64, 64), "fluid" in knee.tissues
    (True, True)
    """
    if tear not in TEARS:
        raise InputError(f"tear is {tear!r}; expected one of {', '.join(TEARS)}")
    if not 32 <= size <= 512:
        raise InputError(f"size is {size}; expected 32 to 512 pixels")
    if not -40 <= offset <= 40:
        raise InputError(f"offset is {offset}; expected -40 to 40 mm")
    # Painting is linear in the signals of tissues. If one tissue gives all of the water's signal and another all of the
    # fat's, what is painted are the proportions of these two.
    stack = Stack(1, size, size, FIELD_OF_VIEW / size, THICK, THICK)
    pose = KneePose(1.0, 0.05, 0.0, (0.0, 0.0, 0.0), (offset, 0.0, 8.0), bend=1.5)
    space = make_space(stack, pose, np.random.default_rng([seed, 25, 0]))
    names, found = [name for name in TISSUES if name != "bruise"], []
    for pair in zip_longest(names[::2], names[1::2], fillvalue=""):
        only = {name: (float(name == pair[0]), float(name == pair[1])) for name in TISSUES}
        found += _painted(space, seed, tear, only)
    kept = {name: plane for name, plane in zip(names, found, strict=False) if plane.max() > 0.01}
    return KneeSlice(tuple(kept), np.stack(list(kept.values())), FIELD_OF_VIEW / size)


def _painted(space: Space, seed: int, tear: str, signals: dict[str, tuple[float, float]]) -> list[np.ndarray]:
    """The water's and the fat's signal of the slice, the same knee each time: two float32 (size, size)."""
    who, hurt = np.random.default_rng([seed, 25, 1]), np.random.default_rng([seed, 25, 2])
    flexion, slide = space.pose.flexion, space.pose.slide
    canvas, texture, build = Canvas(space, signals), Texture(space, who), BUILD
    paint_flesh(canvas, texture, build)
    paint_effusion(canvas, texture, EFFUSION, who)
    paint_joint(canvas, texture, build)
    paint_bones(canvas, texture, build)
    paint_bands(canvas, texture, flexion, slide)
    paint_acl(canvas, texture, tear, flexion=flexion, slide=slide, rng=hurt)
    paint_skin(canvas, texture, build)
    return [canvas.water.mean(axis=0), canvas.fat.mean(axis=0)]
