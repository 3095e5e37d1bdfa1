"""What comes with an injury of the knee, and without one too: fluid in the joint, bruised bone."""

import numpy as np

from fracturelib.simulate.knee_paint import Canvas, Texture, soft

# Where bone may be bruised: bone, then the middle (u, a, s) and the radius in mm. The first is the pattern of a knee
# that gave way sideways, the commonest after a tear (Shi et al., Orthopaedic Journal of Sports Medicine 8(4), 2020, doi
# 10.1177/2325967120911162); the others come of blows. All are drawn whether or not the ligament is torn.
BRUISES: tuple[tuple[tuple[str, tuple[float, float, float], float], ...], ...] = (
    (("femur", (20.0, 9.0, 3.0), 12.0), ("tibia", (21.0, -18.0, -10.0), 11.0)),
    (("femur", (19.0, 5.0, 4.0), 13.0),),
    (("tibia", (22.0, -12.0, -10.0), 13.0),),
    (("femur", (-20.0, 6.0, 3.0), 12.0), ("tibia", (-20.0, 4.0, -9.0), 10.0)),
    (("tibia", (2.0, 14.0, -12.0), 13.0), ("patella", (0.0, 44.0, 26.0), 11.0)),
)


def paint_effusion(canvas: Canvas, texture: Texture, thick: float, rng: np.random.Generator) -> None:
    """Fluid `thick` mm deep above the patella, and as much less as there is room around the joint."""
    space = canvas.space
    rough = texture(9)
    high = 10 + rng.normal(0, 2) + min(1.6 * thick, 14)
    box = space.box((-34, 8, 20), (36, 46, 56 + 2 * high + 12))
    u, a, s = space.u[box], space.a[box], space.s[box]
    sheet = space.along((20.0, 44, 60, 90), (27.0, 28.5, 29.5, 30.5), box)
    spread = 1 - ((u - 2) / (13 + 1.3 * thick)) ** 2 - ((s - 58) / (7 + high)) ** 2
    half = 0.5 * thick * np.sqrt(np.clip(spread, 0, 1)) * (1 + 0.25 * rough[box])
    bowed = a - sheet - 0.35 * thick - 0.8 * texture(9, 1)[box]
    canvas.paint(canvas.edge(np.abs(bowed) - half) * (spread > 0), "fluid", box)
    _paint_recesses(canvas, rough, thick)
    _paint_notch(canvas, texture, thick)


def _paint_recesses(canvas: Canvas, rough: np.ndarray, thick: float) -> None:
    """Fluid beside the condyles, behind them, and before the femur's groove."""
    space = canvas.space
    box = space.box((-42, -34, -6), (42, 38, 46))
    u, a, s = space.u[box], space.a[box], space.s[box]
    d = space.distance["femur"][box]
    deep = 0.35 + 0.42 * thick * np.clip(0.8 + 0.5 * rough[box], 0, 2)
    margin = 1 - ((s - 24) / 17) ** 2 - ((a - 16) / 15) ** 2 - soft(np.abs(u - 1) - 17, 8)
    sides = deep * np.sqrt(np.clip(margin, 0, 1))
    canvas.paint(canvas.edge(np.abs(d - 2.2 - sides / 2) - sides / 2) * (margin > 0), "fluid", box)
    margin = 1 - ((s - 8) / 15) ** 2 - soft(-a - 20, 6)
    behind = 0.5 * deep * np.sqrt(np.clip(margin, 0, 1))
    canvas.paint(canvas.edge(np.abs(d - 2.2 - behind / 2) - behind / 2) * (margin > 0), "fluid", box)


def _paint_notch(canvas: Canvas, texture: Texture, thick: float) -> None:
    """The notch: fat and synovium around the cruciates, with fluid between."""
    space = canvas.space
    box = space.box((-12, -28, -6), (13, 14, 30))
    u, a, s = space.u[box], space.a[box], space.s[box]
    within = np.maximum(np.abs(u - 1) - 10, np.maximum(np.hypot((a + 6) / 17, (s - 8) / 17) * 12 - 12, -s - 5))
    within = np.maximum(within, 0.6 - np.minimum(space.distance["femur"][box], space.distance["tibia"][box]))
    inside = canvas.edge(within)
    canvas.paint(inside * 0.4, "septum", box)
    some = np.clip(0.03 * thick - 0.05 + 0.22 * texture(6)[box], 0, 0.6)
    canvas.paint(inside * some, "fluid", box)


def paint_bruise(canvas: Canvas, texture: Texture, rng: np.random.Generator) -> None:
    """Bruised marrow: water where fat was, without a sharp edge."""
    space = canvas.space
    pattern = BRUISES[int(rng.choice(len(BRUISES), p=(0.4, 0.15, 0.15, 0.15, 0.15)))]
    for bone, centre, reach in pattern:
        spot = np.array(centre) + rng.normal(0, 2.5, 3)
        size = reach * rng.uniform(0.75, 1.25)
        box = space.box((spot - 2 * size).tolist(), (spot + 2 * size).tolist())
        square = sum((c[box] - np.float32(x)) ** 2 for c, x in zip((space.u, space.a, space.s), spot, strict=True))
        spread = np.exp(-np.asarray(square) / np.float32(size**2)) * (1 + 0.35 * texture(4)[box])
        inside = soft(space.distance[bone][box] + 1.3, 1.0)
        canvas.paint(np.clip(rng.uniform(0.55, 1.0) * spread, 0, 1) * inside, "bruise", box)
