"""Where ligaments and tendons are attached: fractions on our own bones, from published anatomy.

Each attachment is a place within the box of a bone's joint end, given as fractions across (0 medial, 1 lateral),
forward (0 back, 1 front) and up (0 bottom, 1 top), and is moved onto the surface from there.

- Anterior cruciate ligament, femur: on the wall of the lateral condyle, about a quarter of the condyle's depth from its
  back and a little more than a quarter below the notch's roof (Bernard et al., American Journal of Knee Surgery
  10:14-21, 1997). Tibia: 41 % of the plateau's depth from its front (Cho et al., BMC Musculoskeletal Disorders 18:448,
  2017, doi 10.1186/s12891-017-1822-8), halfway across. About 38 mm long and 11 mm wide (Ng et al., World Journal of
  Orthopedics 2:75-84, 2011, PMC3302044).
- Posterior cruciate ligament: on the wall of the medial condyle in front; on the slope behind the plateau, some 15 mm
  along it (BMC Musculoskeletal Disorders 17:384, 2016, doi 10.1186/s12891-016-1232-3).
- Medial collateral ligament: 3 mm above and 5 mm behind the epicondyle, and 61 mm below the joint (LaPrade et al.,
  Journal of Bone and Joint Surgery 89:2000-2010, 2007, doi 10.2106/JBJS.F.01176).
- Lateral collateral ligament: just above and behind the epicondyle, and on the outside of the fibula's head (LaPrade et
  al., American Journal of Sports Medicine 31:854-860, 2003).
- Patellar and quadriceps tendon: the patella's lower and upper pole, the tibial tuberosity.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates

from fracturelib.simulate.anatomy import load_pack
from fracturelib.simulate.knee_space import FAR, bone_place

ENDS = {  # which bone, how much of it in mm, and whether its top or its bottom is at the joint
    "femur": ("femur", 38.0, "bottom"),
    "plateau": ("tibia", 16.0, "top"),
    "tibia": ("tibia", 52.0, "top"),
    "fibula": ("fibula", 25.0, "top"),
    "patella": ("patella", 200.0, "top"),
}


@dataclass(frozen=True)
class Attachment:
    """A place in the box of one of `ENDS`, as fractions; `towards` (u, a, s) is where its bone is looked for."""

    end: str
    across: float
    forward: float
    up: float
    towards: tuple[float, float, float]


ATTACHMENTS: dict[str, tuple[Attachment, Attachment]] = {
    "acl": (
        Attachment("femur", 0.50, 0.26, 0.66, (1, 0, 0)),
        Attachment("plateau", 0.48, 0.59, 1.1, (0, 0, -1)),
    ),
    "pcl": (
        Attachment("femur", 0.50, 0.38, 0.42, (-1, 0, 0)),
        Attachment("tibia", 0.46, -0.1, 0.68, (0, 1, 0)),
    ),
    "mcl": (
        Attachment("femur", -0.05, 0.45, 0.72, (1, 0, 0)),
        Attachment("tibia", 0.05, 0.62, 0.02, (1, 0, 0)),
    ),
    "lcl": (
        Attachment("femur", 1.05, 0.42, 0.62, (-1, 0, 0)),
        Attachment("fibula", 1.05, 0.5, 0.72, (-1, 0, 0)),
    ),
    "patellar tendon": (
        Attachment("patella", 0.5, 0.62, -0.05, (0, 0, 1)),
        Attachment("tibia", 0.56, 1.1, 0.22, (0, -1, 0)),
    ),
    "quadriceps tendon": (
        Attachment("patella", 0.5, 0.62, 1.05, (0, 0, -1)),
        Attachment("patella", 0.5, 0.30, 2.0, (0, 0, 0)),  # in the thigh
    ),
}


@lru_cache(maxsize=8)
def _end_box(end: str) -> tuple[np.ndarray, np.ndarray]:
    """The corners of a bone's joint end at rest, in the knee's axes (the tibia where the straight knee has it)."""
    bone, reach, side = ENDS[end]
    shape = load_pack()[0][bone]
    inside = np.argwhere(shape.distance < 0) * shape.spacing + shape.low
    place = bone_place(bone, 0.0)
    spots = inside @ shape.frame.T @ place[:3, :3].T + place[:3, 3]
    edge = spots[:, 2].min() if side == "bottom" else spots[:, 2].max()
    spots = spots[np.abs(spots[:, 2] - edge) <= reach]
    return spots.min(axis=0), spots.max(axis=0)


def distance_at(bone: str, spots: np.ndarray, flexion: float, slide: float = 0.0) -> np.ndarray:
    """Signed distance in mm from places in the knee's axes, float (n, 3), to a bone."""
    shape = load_pack()[0][bone]
    back = np.linalg.inv(bone_place(bone, flexion, slide))
    local = (spots @ back[:3, :3].T + back[:3, 3]) @ shape.frame
    return np.asarray(
        map_coordinates(shape.distance, ((local - shape.low) / shape.spacing).T, order=1, mode="constant", cval=FAR)
    )


def attached_at(attachment: Attachment, flexion: float, slide: float = 0.0) -> np.ndarray:
    """Where an attachment lies when the knee is bent: float (3,), u, a, s in mm."""
    low, high = _end_box(attachment.end)
    bone = ENDS[attachment.end][0]
    spot = low + (high - low) * [attachment.across, attachment.forward, attachment.up]
    direction = np.array(attachment.towards, float)
    if direction.any():
        way = spot + np.arange(0, 40, 0.25)[:, None] * direction
        inside = np.flatnonzero(distance_at(bone, way, 0.0) < 0)
        spot = way[inside[0]] if len(inside) else spot
    moved = bone_place(bone, flexion, slide) @ np.linalg.inv(bone_place(bone, 0.0))
    return np.asarray(moved[:3, :3] @ spot + moved[:3, 3])


def ends_of(name: str, flexion: float, slide: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of a ligament or tendon, each float (3,)."""
    first, second = ATTACHMENTS[name]
    return attached_at(first, flexion, slide), attached_at(second, flexion, slide)
