"""The knee but for its anterior cruciate ligament: skin, fat, muscles, vessels, bones, cartilage, menisci, tendons.

Shapes of soft tissue follow the descriptions of sectional anatomy; sizes are round values for an adult, in mm, in the
axes of `knee_space`.
"""

from dataclasses import dataclass

import numpy as np

from fracturelib.simulate.knee_landmarks import ends_of
from fracturelib.simulate.knee_paint import Canvas, Texture, extent, near_path, smooth_path, soft
from fracturelib.simulate.knee_space import ALL, Box, Space, enlarge

# Muscles and tendons that run down the limb: heights, then across (u), forward (a) and radius at each; how much wider
# than deep; tissue.
_DOWN: tuple[tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...], float, str], ...] = (
    ((-80, -45, -10, 16), (17, 19, 19, 17), (-46, -47, -37, -28), (19, 17, 9, 3), 1.15, "muscle"),  # gastrocnemius
    ((-80, -45, -10, 20), (-17, -19, -19, -18), (-48, -49, -38, -28), (20, 18, 10, 3), 1.15, "muscle"),
    ((-80, -52, -38), (6, 6, 8), (-36, -33, -30), (13, 9, 2), 2.2, "muscle"),  # soleus
    ((-80, -40, -26), (38, 38, 36), (8, 4, 2), (15, 11, 3), 1.0, "muscle"),  # in front of the fibula
    ((-10, 30, 80), (33, 33, 26), (-34, -38, -42), (5, 11, 16), 1.0, "muscle"),  # biceps of the thigh
    ((-14, 30, 80), (-27, -27, -18), (-33, -44, -44), (4, 13, 19), 1.2, "muscle"),  # semimembranosus
    ((-40, 20, 80), (-22, -20, -12), (-38, -54, -56), (2.2, 2.6, 7), 1.0, "tendon"),  # semitendinosus
    ((-30, 20, 80), (-43, -44, -40), (-18, -32, -36), (5, 9, 12), 0.7, "muscle"),  # sartorius and gracilis
    ((34, 56, 90), (-24, -25, -24), (34, 32, 26), (2, 13, 22), 1.0, "muscle"),  # vastus medialis
    ((44, 62, 90), (28, 28, 30), (30, 26, 20), (2, 11, 20), 1.0, "muscle"),  # vastus lateralis
    ((-30, 0, 30, 80), (41, 42, 43, 44), (16, 18, 16, 8), (8, 9, 10, 12), 0.18, "tendon"),  # iliotibial tract
    ((62, 74, 95), (3, 3, 3), (32, 32, 30), (1, 4, 9), 2.4, "muscle"),  # vastus intermedius
)
_VESSELS = (
    ((-80, -40, 20, 80), (4, 4, 3, -6), (-37, -36, -33, -22), 3.0, "cortex"),  # the artery: a void where blood flows
    ((-80, -40, 20, 80), (9, 9, 8, 0), (-42, -42, -39, -28), 3.2, "vein"),
    ((-80, -40, 20, 80), (13, 12, 8, 4), (-47, -48, -47, -36), 2.6, "muscle"),  # the tibial nerve
)


@dataclass(frozen=True)
class Build:
    """How a person is made.

    Thickness of the fat under the skin (mm), muscles and cartilage relative to usual, and how much red marrow (0..1).
    """

    fat: float
    muscle: float
    cartilage: float
    red_marrow: float


def paint_flesh(canvas: Canvas, texture: Texture, build: Build) -> None:
    """Fat with its septa, muscles, vessels: all that lies around the joint."""
    space = canvas.space
    canvas.paint(strands(texture), "septum")
    rough = texture(9, 1)
    bundles = texture(2.6, stretch=14)
    for heights, across, forward, radius, wide, tissue in _DOWN:
        reach = max(radius) * build.muscle + 5
        low = (min(across) - wide * reach, min(forward) - reach, -200 if heights[0] < -70 else heights[0] - 8)
        high = (max(across) + wide * reach, max(forward) + reach, 200 if heights[-1] > 70 else heights[-1] + 6)
        box = space.box(low, high)
        thick = space.along(heights, tuple(r * build.muscle for r in radius), box)
        d = _beside(space, box, (heights, across, forward), wide) - thick + 1.3 * rough[box]
        if heights[-1] < 70:
            d = np.maximum(d, space.s[box] - heights[-1] - 3)
        if heights[0] > -70:
            d = np.maximum(d, heights[0] - 3 - space.s[box])
        canvas.paint(0.6 * canvas.edge(np.abs(d) - 0.25), "tendon", box)
        cover = canvas.edge(d)
        if tissue == "muscle":  # fat between the bundles of fibres
            cover *= 1 - 0.55 * soft(np.abs(bundles[box] + 0.4 * rough[box]) - 0.1, 0.6)
        canvas.paint(cover, tissue, box)
    _paint_behind_tibia(canvas)
    for heights, across, forward, size, tissue in _VESSELS:
        box = space.box((min(across) - 7, min(forward) - 7, -200), (max(across) + 7, max(forward) + 7, 200))
        wound = texture(22)[box]
        d = _beside(space, box, (heights, across, forward), 1.0, 2.2 * wound) - size + 0.25 * rough[box]
        canvas.paint(canvas.edge(np.abs(d - 0.2) - 0.5), "septum", box)
        canvas.paint(canvas.edge(d), tissue, box)


def strands(texture: Texture) -> np.ndarray:
    """Where fat has its septa and small vessels: float32 (planes, h, w), 0..1."""
    sheets = soft(np.abs(texture(6) + np.float32(0.5) * texture(2.6, stretch=14)) - 0.05, 0.28)
    sheets *= np.clip(0.45 + 0.3 * texture(9), 0, 0.9)
    return sheets


def _beside(
    space: Space, box: Box, line: tuple[tuple[float, ...], ...], wide: float, moved: np.ndarray | float = 0.0
) -> np.ndarray:
    """Distance in mm from a line down the limb, given by heights, u and a; `wide` times as far across."""
    heights, across, forward = line
    du = (space.u[box] - space.along(heights, across, box)) * np.float32(1 / wide)
    da = space.a[box] - space.along(heights, forward, box) + moved
    return np.asarray(np.sqrt(du * du + da * da))


def _paint_behind_tibia(canvas: Canvas) -> None:
    """The popliteus: a sheet on the back of the tibia."""
    space = canvas.space
    box = space.box((-28, -45, -85), (32, -5, -10))
    margin = np.minimum(-14 - space.a[box], -20 - 0.3 * space.u[box] - space.s[box])
    half = 2.8 * np.sqrt(np.clip(margin / 14, 0, 1))
    canvas.paint(canvas.edge(np.abs(space.distance["tibia"][box] - half - 0.8) - half) * (margin > 0), "muscle", box)


def paint_bones(canvas: Canvas, texture: Texture, build: Build) -> None:
    """Cortex, and marrow with trabeculae, patches of red marrow and the scar of the growth plate."""
    space = canvas.space
    spongy = 1 - np.float32(0.06) * texture(1.8) - np.float32(0.05) * texture(4)
    for name, distance in space.distance.items():
        box = extent(distance < canvas.space.step, ALL)
        if box is None:
            continue
        d, s = distance[box], space.s[box]
        ends = {"femur": (40.0, 90.0), "tibia": (-28.0, -75.0), "fibula": (-42.0, -80.0)}.get(name, (900.0, 901.0))
        rim = space.along(*_sorted(ends, (0.9, 2.8)), box) if name != "patella" else np.float32(1.0)
        canvas.paint(canvas.edge(d), "cortex", box)
        inside = canvas.edge(d + rim)
        canvas.paint(inside, "marrow", box)
        if name in ("femur", "tibia"):
            shaft = soft(-(s - 46) if name == "femur" else (s + 30), 22)
            red = soft(-(texture(9, 1)[box] + 0.5 * texture(4)[box] - 1.3 + build.red_marrow), 1.6)
            canvas.paint(inside * shaft * red * np.float32(min(build.red_marrow, 0.8)), "red marrow", box)
            scar = np.abs(s - (30 if name == "femur" else -17) - 1.2 * texture(9)[box]) - 0.35
            canvas.paint(0.45 * inside * canvas.edge(scar), "cortex", box)
        for signal in (canvas.water, canvas.fat):
            signal[box] *= 1 + inside * (spongy[box] - 1)


def _sorted(at: tuple[float, float], values: tuple[float, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (at, values) if at[0] < at[1] else (at[::-1], values[::-1])


def paint_joint(canvas: Canvas, texture: Texture, build: Build) -> None:
    """Cartilage as shells on the bones, menisci as wedges in the gap between femur and tibia, a film of fluid."""
    space = canvas.space
    box = space.box((-38, -30, -20), (38, 27, 9))
    u, a, s = space.u[box], space.a[box], space.s[box]
    femur, tibia = space.distance["femur"][box], space.distance["tibia"][box]
    uneven = np.float32(build.cartilage) + np.float32(0.08) * texture(9)[box]
    gap = np.maximum(femur + tibia - 5.6, np.abs(u) - 35)
    canvas.paint(canvas.edge(np.maximum(gap, np.maximum(a - 22, -a - 25))), "fluid", box)
    for across, ru, ra, centre in ((-20.0, 15.5, 21.5, -3.0), (20.0, 14.5, 19.0, -2.0)):
        radius = np.hypot((u - across) * np.float32(1 / ru), (a - centre) * np.float32(1 / ra))
        radius += 0.02 * texture(9)[box]
        top = tibia - np.clip(1.5 + 20 * (radius - 0.5), 1.5, 7.3)
        wedge = np.maximum(np.maximum(top, (radius - 1.22) * 16), np.maximum(1.7 - femur, 1.7 - tibia))
        wedge = np.maximum(wedge, np.maximum(8.0 - np.abs(u), (0.52 - radius) * 16))
        wedge = np.maximum(wedge, 0.06 * u - 8 - s)  # on the plateau, not down its side
        canvas.paint(canvas.edge(wedge), "meniscus", box)
    margin = np.minimum(
        np.minimum(s - 0.06 * u + 10, np.abs(u) - 6), np.minimum(33 - np.abs(u), np.minimum(17 - a, a + 24))
    )
    flat = _faded(tibia, 2.4 * uneven, margin)
    _paint_cartilage(canvas, flat, box)
    _paint_femoral_cartilage(canvas, texture, build)


def _paint_femoral_cartilage(canvas: Canvas, texture: Texture, build: Build) -> None:
    """On the condyles, in the patella's groove, and on the patella's back."""
    space = canvas.space
    box = space.box((-37, -30, -8), (37, 46, 58))
    u, a, s = space.u[box], space.a[box], space.s[box]
    uneven = np.float32(build.cartilage) + np.float32(0.08) * texture(9)[box]
    beside = 35 - np.abs(u)
    within = np.maximum(np.abs(u - 1) - 8, a - 9)  # not in the notch
    upper = np.maximum(a - 11, 26 - s)  # not on the bone's back, nor high on its sides
    behind = np.maximum(a + 19, 24 - s)
    margin = np.minimum(np.minimum(beside, within), np.minimum(np.maximum(upper, -20 - a), behind))
    margin = np.minimum(margin, 44 - s)
    _paint_cartilage(canvas, _faded(space.distance["femur"][box], 2.3 * uneven, margin), box)
    margin = np.minimum(np.minimum(40 - a, 21 - np.abs(u)), np.minimum(s - 14, 52 - s))
    _paint_cartilage(canvas, _faded(space.distance["patella"][box], 3.2 * uneven, margin), box)


def _paint_cartilage(canvas: Canvas, shell: np.ndarray, box: Box) -> None:
    """Cartilage: darker near the bone, where its fibres stand upright and T2 is short."""
    canvas.paint(canvas.edge(shell), "cartilage", box)
    canvas.paint(0.55 * canvas.edge(shell + 1.5), "between fibres", box)


def _faded(distance: np.ndarray, thick: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Signed distance to a shell on a bone that thins out within 6 mm of where `margin` is 0."""
    return np.asarray(distance - thick * np.sqrt(np.clip(margin * np.float32(1 / 6), 0, 1)))


def paint_bands(canvas: Canvas, texture: Texture, flexion: float, slide: float) -> None:
    """Posterior cruciate, collateral ligaments and the tendons before the knee, from attachment to attachment."""
    space = canvas.space
    rough = texture(4)
    for name, radius, flat, tissue in (
        ("pcl", 4.6, (1.25, 1.0, 1.0), "ligament"),
        ("mcl", 1.5, (1.0, 4.5, 1.0), "ligament"),
        ("lcl", 2.0, (1.0, 1.3, 1.0), "ligament"),
        ("patellar tendon", 2.4, (5.5, 1.0, 1.0), "tendon"),
        ("quadriceps tendon", 3.2, (4.5, 1.0, 1.0), "tendon"),
    ):
        path = band_path(name, flexion, slide)
        spare = radius * max(flat) + 1
        box = space.box(path.min(axis=0) - spare, path.max(axis=0) + spare)
        d = near_path(space, box, path, flat) - radius + 0.2 * rough[box]
        cover = canvas.edge(d)
        if name != "patellar tendon" and name != "quadriceps tendon":
            cover = cover * soft(-space.distance["femur"][box] - 0.3, 1)
        canvas.paint(cover, tissue, box)
        if name == "pcl":
            canvas.paint(cover * 0.25 * soft(0.3 - rough[box], 1.5), "between fibres", box)


def band_path(name: str, flexion: float, slide: float = 0.0) -> np.ndarray:
    """The middle line of a ligament or tendon: float (n, 3), from its first attachment to its last."""
    first, last = ends_of(name, flexion, slide)
    way = {
        "pcl": [first + (last - first) * 0.45 + [0, -4.5, 5.5]],
        "mcl": [first + (last - first) * 0.4 + [-7, 0, 0], first + (last - first) * 0.75 + [-7, 0, 0]],
        "lcl": [first + (last - first) * 0.5 + [3, 0, 0]],
    }.get(name, [])
    return smooth_path(np.stack([first, *way, last]), 2 * len(way) + 3) if way else np.stack([first, last])


def paint_skin(canvas: Canvas, texture: Texture, build: Build) -> None:
    """The limb's outline: fascia, fat, skin, and the air outside."""
    deep = _depth(canvas.space) + np.float32(0.5) * texture(9)  # outwards from the deep fascia
    under = np.float32(build.fat) * np.clip(1 - 0.55 * soft(24 - canvas.space.a, 24), 0.3, 1)
    canvas.paint(0.7 * canvas.edge(np.abs(deep) - 0.3), "septum")
    beyond = canvas.edge(-deep - 0.4)
    canvas.paint(beyond, "fat")
    beyond *= strands(texture)
    canvas.paint(beyond, "septum")
    deep -= under
    canvas.paint(canvas.edge(-deep - 1.4), "skin")
    inside = canvas.edge(deep)
    canvas.water *= inside
    canvas.fat *= inside


def _depth(space: Space) -> np.ndarray:
    """About how far outside the deep fascia a voxel lies, mm: known at every second row and column, it is smooth."""
    few = (slice(None), slice(None, None, 2), slice(None, None, 2))
    front = space.along((-80, -45, -15, 5, 34, 60, 90), (36, 37, 46, 54, 60, 60, 60), few)
    back = space.along((-80, -40, 0, 30, 90), (-72, -69, -58, -60, -66), few)
    wide = space.along((-80, -40, 0, 40, 90), (56, 54, 54, 58, 66), few)
    half, middle = (front - back) / 2, (front + back) / 2
    du, da = (space.u[few] / wide) ** 2, ((space.a[few] - middle) / half) ** 2
    deep = (np.sqrt(np.sqrt(du * du + da * da + 0.9 * du * da)) - 1) * half
    return enlarge(deep, *space.u.shape[1:])
