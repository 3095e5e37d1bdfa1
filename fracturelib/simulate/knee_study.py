"""One simulated study: a sagittal stack of a knee, proton density with fat saturation, and the truth about it."""

from dataclasses import dataclass, replace

import numpy as np

from fracturelib._io.files import InputError
from fracturelib.simulate.knee_anatomy import paint_bands, paint_bones, paint_flesh, paint_joint, paint_skin
from fracturelib.simulate.knee_injury import paint_bruise, paint_effusion
from fracturelib.simulate.knee_ligament import TEARS, paint_acl
from fracturelib.simulate.knee_paint import Canvas, Texture
from fracturelib.simulate.knee_patient import SIDES, Streams, Subject, draw_subject
from fracturelib.simulate.knee_scan import Sequence, display, draw_sequence, scan
from fracturelib.simulate.knee_space import make_space
from fracturelib.simulate.knee_tissues import FIELDS, signals

SHAPE = (20, 128, 128)
CONTRAST = "proton density, fat saturated"


@dataclass(frozen=True)
class KneeStudy:
    """A simulated study of a knee.

    `volume` is uint8 (slices, height, width): sagittal slices in order from the patient's right to the left, rows from
    head to foot, columns from front to back; the first slice of a right knee is its outer side, that of a left one its
    inner side. `mask` is bool of the same shape: where the anterior cruciate ligament is torn or degenerated.
    `slice_mm` lies between the middles of slices, `pixel_mm` between those of pixels. `tear` is one of "none",
    "degenerated", "partial" and "complete"; `torn` is the label: the last two are. `effusion_mm` is the depth of the
    fluid above the patella.
    """

    volume: np.ndarray
    mask: np.ndarray
    slice_mm: float
    pixel_mm: float
    tear: str
    effusion_mm: float
    bruise: bool
    field: float
    laterality: str
    contrast: str

    @property
    def torn(self) -> bool:
        """The label: whether the ligament is torn, partly or wholly."""
        return self.tear in ("partial", "complete")


def simulate_knee(
    seed: int,
    *,
    tear: str = "none",
    effusion: float | None = None,
    bruise: bool | None = None,
    field: float | None = None,
    laterality: str | None = None,
    shape: tuple[int, int, int] = SHAPE,
    sequence: Sequence | None = None,
) -> KneeStudy:
    """One study of one patient.

    Parameters
    ----------
    seed : int
        The patient, the position, the scanner and the noise, whatever else is asked for.
    tear : str
        Of the anterior cruciate ligament: "none", "degenerated" (thick and bright, but whole), "partial", "complete".
    effusion : float, optional
        Depth of the fluid above the patella in mm, 0 to 15. Not given: as it comes, whatever the tear is.
    bruise : bool, optional
        Whether bone is bruised. Not given: as it comes, whatever the tear is.
    field, laterality : optional
        1.5 or 3.0 tesla; "L" or "R".
    shape : tuple of int
        Slices (at least 8), height and width (at least 32). The knee is as large as ever: more slices are thinner.
    sequence : Sequence, optional
        Times, fat saturation, noise and so on. Not given: as they vary between hospitals.

    Returns
    -------
    KneeStudy

    Raises
    ------
    InputError
        If an argument is none of these.

    Examples
    --------
    >>> study = simulate_knee(1, tear="complete", shape=(10, 64, 64))
    >>> study.volume.shape, study.volume.dtype.name, study.torn, bool(study.mask.any())
    ((10, 64, 64), 'uint8', True, True)
    """
    _check(tear, effusion, field, laterality, shape)
    streams = Streams.of(seed)
    drawn = draw_subject(streams, shape, tear)
    subject = replace(
        drawn,
        effusion=drawn.effusion if effusion is None else float(effusion),
        bruise=drawn.bruise if bruise is None else bool(bruise),
        field=drawn.field if field is None else float(field),
        laterality=drawn.laterality if laterality is None else laterality,
    )
    how = draw_sequence(subject.field, streams.scan)
    how = how if sequence is None else replace(sequence, field=subject.field)
    return _made(subject, tear, how, streams)


def _made(subject: Subject, tear: str, how: Sequence, streams: Streams) -> KneeStudy:
    """The study of a patient: tissues painted from the outside in, scanned, and laid in the patient's order."""
    pose, build, stack = subject.pose, subject.build, subject.stack
    signal = signals(subject.field, tr=how.tr, te=how.te)
    space = make_space(stack, pose, streams.where)
    canvas, texture = Canvas(space, signal), Texture(space, streams.who)
    paint_flesh(canvas, texture, build)
    paint_effusion(canvas, texture, subject.effusion, streams.signs)
    paint_joint(canvas, texture, build)
    paint_bones(canvas, texture, build)
    if subject.bruise:
        paint_bruise(canvas, texture, streams.signs)
    paint_bands(canvas, texture, pose.flexion, pose.slide)
    truth = paint_acl(canvas, texture, tear, flexion=pose.flexion, slide=pose.slide, rng=streams.tear)
    paint_skin(canvas, texture, build)
    white = signal["fluid"][0] * float(streams.scan.uniform(0.75, 1.15))
    volume = display(scan(canvas.water, canvas.fat, stack, how, streams.scan), white)
    mask = truth.reshape(stack.slices, stack.sub, stack.height, stack.width).mean(axis=1) > 0.3
    if subject.laterality == "R":
        volume, mask = volume[::-1], mask[::-1]
    return KneeStudy(
        np.ascontiguousarray(volume), np.ascontiguousarray(mask), stack.spacing, stack.pixel, tear, subject.effusion,
        subject.bruise, subject.field, subject.laterality, CONTRAST,
    )  # fmt: skip


def _check(
    tear: str, effusion: float | None, field: float | None, laterality: str | None, shape: tuple[int, int, int]
) -> None:
    if tear not in TEARS:
        raise InputError(f"tear is {tear!r}; expected one of {', '.join(TEARS)}")
    if effusion is not None and not 0 <= effusion <= 15:
        raise InputError(f"effusion is {effusion}; expected 0 to 15 mm")
    if field is not None and field not in FIELDS:
        raise InputError(f"field is {field}; expected one of {', '.join(map(str, FIELDS))} (tesla)")
    if laterality is not None and laterality not in SIDES:
        raise InputError(f"laterality is {laterality!r}; expected L or R")
    if len(shape) != 3 or shape[0] < 8 or min(shape[1:]) < 32 or max(shape) > 512:
        raise InputError(f"shape is {shape}; expected at least (8, 32, 32) slices, rows and columns, at most 512")
