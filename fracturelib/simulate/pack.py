"""Build `bones.npz` from the bone surfaces of myo-sim: `python -m fracturelib.simulate.pack [OUT]`.

Needed once, to make the pack that is committed; making images needs only the pack. Build-time packages: myo-sim
(Apache-2.0: surfaces and joints), mujoco (reads the models), libigl (inside test).
"""

import sys
import warnings
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from fracturelib._io.files import atomic_path
from fracturelib.simulate.anatomy import STEP_MM, Joint, chain_pose
from fracturelib.simulate.regions import REGIONS, region_of

SPACING = {"fine": 0.6, "toe": 0.6, "foot": 0.8, "long": 1.0, "flat": 1.3, "ribs": 2.0}  # mm, by kind of bone
SMOOTH = {
    "fine": 0.45,
    "toe": 0.5,
    "foot": 1.0,
    "long": 1.6,
    "flat": 2.2,
    "ribs": 1.0,
}  # mm, Gaussian that takes the facets away
CLEARANCE = 0.3  # mm between bones that would touch
LONG = ("radius", "ulna", "humerus", "clavicle", "femur", "tibia", "fibula")
FLAT = ("scapula", "pelvis", "sacrum")
ARM = {
    "torso_geom_13_ribcage_s": "ribs",
    "clavicle": "clavicle",
    "scapula": "scapula",
    "humerus": "humerus",
    "ulna": "ulna",
    "radius": "radius",
    "lunate": "lunate",
    "scaphoid": "scaphoid",
    "pisiform": "pisiform",
    "triquetrum": "triquetrum",
    "capitate": "capitate",
    "trapezium": "trapezium",
    "trapezoid": "trapezoid",
    "hamate": "hamate",
    "1mc": "mc1",
    "thumbprox": "pp1",
    "thumbdist": "dp1",
    **{f"{i}mc": f"mc{i}" for i in range(2, 6)},
    **{f"{i}proxph": f"pp{i}" for i in range(2, 6)},
    **{f"{i}midph": f"mp{i}" for i in range(2, 6)},
    **{f"{i}distph": f"dp{i}" for i in range(2, 6)},
}
LEG = {
    "r_pelvis": "pelvis",
    "sacrum_geom_1_sacrum": "sacrum",
    "r_femur": "femur",
    "r_tibia": "tibia",
    "r_fibula": "fibula",
    "r_talus": "talus",
    "r_foot": "foot",
    "r_bofoot": "toes",
    "r_patella": "patella",
}
# The foot comes as two meshes of many pieces; these are the pieces' names, from the little toe's side to the big toe's.
FOOT = ("mt5", "mt4", "cuboid", "calcaneus", "mt3", "cuneiform3", "mt2", "navicular", "cuneiform2", "mt1", "cuneiform1")
TOES = (*(f"{kind}{ray}t" for ray in (5, 4, 3, 2) for kind in ("dp", "mp", "pp")), "dp1t", "pp1t")


@dataclass(frozen=True)
class Surface:
    """One bone's triangles in the rest pose: vertices float (n, 3) in mm, faces int (m, 3), and its joints."""

    vertices: np.ndarray
    faces: np.ndarray
    joints: tuple[str, ...]


def _moves(model: Any, joint: int) -> bool:
    """Whether a joint is a hinge or a slide; the free joint of the whole body is not one of ours."""
    import mujoco

    return int(model.jnt_type[joint]) in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


def _joints_to_root(model: Any, body: int) -> tuple[str, ...]:
    found: list[str] = []
    while body > 0:
        first, count = model.body_jntadr[body], model.body_jntnum[body]
        found = [model.joint(j).name for j in range(first, first + count) if _moves(model, j)] + found
        body = model.body_parentid[body]
    return tuple(found)


def _couplings(model: Any) -> dict[int, tuple[int, np.ndarray]]:
    """Joints that another one drives: joint -> (driving joint, polynomial float (5,), lowest power first).

    A constraint without a driving joint holds a joint at the polynomial's constant. Raises ValueError for a constraint
    of another type, and for a driving joint that is driven itself: the pose knows neither.
    """
    import mujoco

    driven: dict[int, tuple[int, np.ndarray]] = {}
    for e in range(model.neq):
        if not model.eq_active0[e]:
            continue
        if model.eq_type[e] != mujoco.mjtEq.mjEQ_JOINT:
            raise ValueError(f"constraint {e} is of type {model.eq_type[e]}; expected joints only")
        driven[int(model.eq_obj1id[e])] = (int(model.eq_obj2id[e]), model.eq_data[e][:5].copy())
    if {driver for driver, _ in driven.values()} & set(driven):
        raise ValueError("a joint that drives another is driven itself; expected chains of one link")
    return driven


def _at_rest(model: Any) -> tuple[Any, dict[int, tuple[int, np.ndarray]]]:
    """The model in its reference pose, with every driven joint where its constraint puts it.

    `mj_kinematics` does not solve constraints: it leaves the patella 52 mm behind its place, in the femur.
    """
    import mujoco

    state, driven = mujoco.MjData(model), _couplings(model)
    place = model.jnt_qposadr
    for joint, (driver, polynomial) in driven.items():
        turned = state.qpos[place[driver]] - model.qpos0[place[driver]] if driver >= 0 else 0.0
        state.qpos[place[joint]] = model.qpos0[place[joint]] + np.polynomial.Polynomial(polynomial)(turned)
    mujoco.mj_kinematics(model, state)
    return state, driven


def _pieces(vertices: np.ndarray, faces: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The connected parts of a mesh, after welding equal vertices."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    points, index = np.unique(np.round(vertices, 3), axis=0, return_inverse=True)
    faces = index.ravel()[faces]
    edges = coo_matrix(
        (np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, axis=1).ravel())), shape=(len(points),) * 2
    )
    count, label = connected_components(edges, directed=False)
    parts = []
    for k in range(count):
        keep = np.flatnonzero(label == k)
        renumber = np.full(len(points), -1)
        renumber[keep] = np.arange(len(keep))
        parts.append((points[keep], renumber[faces[np.isin(faces[:, 0], keep)]]))
    return parts


def _joint(model: Any, state: Any, driven: dict[int, tuple[int, np.ndarray]], joint: int) -> Joint:
    """A joint at rest, lengths in mm. A pose counts from the rest pose, so a polynomial's constant is in it already."""
    import mujoco

    slides = int(model.jnt_type[joint]) == mujoco.mjtJoint.mjJNT_SLIDE
    unit = 1000.0 if slides else 1.0
    driver, polynomial = driven.get(joint, (-1, np.zeros(5)))
    low, high = model.jnt_range[joint] * unit
    return Joint(
        state.xanchor[joint] * 1000,
        state.xaxis[joint].copy(),
        (float(low), float(high)),
        slides,
        model.joint(driver).name if driver >= 0 else "",
        tuple((polynomial[1:] * unit).tolist()) if driver >= 0 else (),
    )


def read_surfaces() -> tuple[dict[str, Surface], dict[str, Joint]]:
    """Surfaces by bone, and joints by name, all in the rest pose of myo-sim with its constraints satisfied."""
    import myo_sim

    surfaces: dict[str, Surface] = {}
    joints: dict[str, Joint] = {}
    for name, wanted in (("myoarm_r", ARM), ("myolegs", LEG)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = myo_sim.load_model(name)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        state, driven = _at_rest(model)
        joints |= {model.joint(j).name: _joint(model, state, driven, j) for j in range(model.njnt) if _moves(model, j)}
        for g in range(model.ngeom):
            mesh = model.geom_dataid[g]
            if mesh < 0:
                continue
            key = model.mesh(mesh).name
            key = key if key in wanted else key.removesuffix("_r")
            if key not in wanted:
                continue
            first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
            rotation = state.geom_xmat[g].reshape(3, 3)
            vertices = (model.mesh_vert[first : first + count] @ rotation.T + state.geom_xpos[g]) * 1000
            first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
            faces = model.mesh_face[first : first + count].astype(np.int64)
            chain = _joints_to_root(model, model.geom_bodyid[g])
            names: tuple[str, ...] = (wanted[key],)
            parts = [(vertices, faces)]
            if wanted[key] in ("foot", "toes"):
                names = FOOT if wanted[key] == "foot" else TOES
                parts = sorted(_pieces(vertices, faces), key=lambda part: part[0][:, 0].min())
            for bone, (points, triangles) in zip(names, parts, strict=True):
                if bone == "ribs":  # the right half is enough
                    triangles = triangles[(points[triangles][:, :, 0] < 5).all(axis=1)]
                    kept, triangles = np.unique(triangles, return_inverse=True)
                    points, triangles = points[kept], triangles.reshape(-1, 3)
                surfaces[bone] = Surface(points, triangles, chain)
    return surfaces, joints


def kind_of(bone: str) -> str:
    """What a bone is shaped like, in a word."""
    if bone in LONG:
        return "long"
    if bone in FLAT:
        return "flat"
    if bone == "ribs":
        return "ribs"
    if bone in TOES:
        return "toe"
    foot = {*FOOT, "talus", "patella"}
    return "foot" if bone in foot else "fine"


def bone_frame(vertices: np.ndarray) -> np.ndarray:
    """Axes (columns) with the longest first, pointing distally: float (3, 3)."""
    _, _, rows = np.linalg.svd(vertices - vertices.mean(axis=0), full_matrices=False)
    down = np.array([0.0, -0.4, -1.0])  # the body stands, arms hanging; toes point to -y
    if rows[0] @ down < 0:
        rows[0] *= -1
    rows[2] = np.cross(rows[0], rows[1])
    return rows.T


def distance_volume(
    surface: Surface, frame: np.ndarray, spacing: float, smooth: float, *, pieces: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance (mm, negative inside) on a grid along the bone's axes: float (a, b, c), and its corner in mm."""
    import igl

    points, faces = surface.vertices @ frame, surface.faces
    margin = 4.0
    low = points.min(axis=0) - margin
    shape = np.ceil((points.max(axis=0) + margin - low) / spacing).astype(int) + 1
    axes = [low[i] + spacing * np.arange(shape[i]) for i in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    winding = np.asarray(igl.fast_winding_number(points, faces, grid)).reshape(shape)
    inside = np.abs(winding) if abs(winding.min()) > winding.max() else winding
    level = ndimage.gaussian_filter(np.clip(inside, 0, 1), smooth / spacing) - 0.5
    fine = ndimage.zoom(level, 2, order=1, grid_mode=True, mode="nearest") > 0
    label, count = ndimage.label(fine)
    if count > 1 and not pieces:  # splinters that float
        fine = label == 1 + np.argmax(np.bincount(label.ravel())[1:])
    fine = ndimage.binary_fill_holes(fine)
    half = spacing / 2
    outside = ndimage.distance_transform_edt(~fine, sampling=half) - half / 2
    depth = ndimage.distance_transform_edt(fine, sampling=half) - half / 2
    distance = np.where(fine, -depth, outside)
    distance = ndimage.gaussian_filter(distance, 1.0)
    return distance.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean(axis=(1, 3, 5)), low


@dataclass(frozen=True)
class Volume:
    """A bone's signed distance (mm, negative inside) on a grid along `frame`'s columns, with its corner at `low`."""

    distance: np.ndarray  # float (a, b, c)
    frame: np.ndarray  # (3, 3)
    low: np.ndarray  # (3,)
    spacing: float


def drawn_poses(region: str, *, draws: int, seed: int = 0) -> list[dict[str, float]]:
    """Joint angles of a region as the simulator draws them, and their extremes: at rest, then for every view."""
    spec, rng = region_of(region), np.random.default_rng(seed)
    poses: list[dict[str, float]] = [{}]
    for view in spec.turn:
        bend = {**spec.bend, **(spec.lateral_bend if view == "lateral" else {})}
        ends = [{name: limits[k] for name, limits in bend.items()} for k in (0, 1)]
        poses += [*ends, *({n: float(rng.uniform(*limits)) for n, limits in bend.items()} for _ in range(draws))]
    return poses


def part_bones(
    volumes: dict[str, Volume], surfaces: dict[str, Surface], joints: dict[str, Joint], *, draws: int = 6
) -> dict[str, Volume]:
    """Bones that share no space, in any pose that the simulator draws.

    The published surfaces run into each other (at rest a tenth of the talus lies in the calcaneus, and the sacroiliac
    joint is filled), and their joints are hinges where a real joint also glides. What two bones claim is divided
    between them at equal depth: each keeps what lies deeper in itself than in the other.
    """
    taken = {name: volume.distance.copy() for name, volume in volumes.items()}

    def give_way(one: str, other: str, move: np.ndarray) -> None:
        """Take from `one` its half of what it shares with `other`, to whose rest pose `move` leads."""
        mine, its = volumes[one], volumes[other]
        turn = its.frame.T @ move[:3, :3] @ mine.frame * (mine.spacing / its.spacing)  # voxel to voxel
        start = (its.frame.T @ (move[:3, :3] @ (mine.frame @ mine.low) + move[:3, 3]) - its.low) / its.spacing
        corners = np.array(list(product(*((0, n - 1) for n in its.distance.shape))))
        seen = (corners - start) @ np.linalg.inv(turn).T
        low = np.maximum(np.floor(seen.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + 1, mine.distance.shape)
        if (low >= high).any():
            return
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        index = np.argwhere(mine.distance[box] < CLEARANCE) + low
        spots = index @ turn.T + start
        near = ((spots > 0) & (spots < np.array(its.distance.shape) - 1)).all(axis=1)
        there = ndimage.map_coordinates(its.distance, spots[near].T, order=1, mode="nearest")
        voxels = tuple(index[near].T)
        shared = (mine.distance[voxels] - there + CLEARANCE) / 2
        taken[one][voxels] = np.maximum(taken[one][voxels], shared)

    for region in REGIONS:
        names = [name for name in region_of(region).bones if name in volumes]
        for angles in drawn_poses(region, draws=draws):
            places = {name: chain_pose(surfaces[name].joints, joints, angles) for name in names}
            for one, other in permutations(names, 2):
                give_way(one, other, np.linalg.inv(places[other]) @ places[one])
    mirror = np.diag([-1.0, 1, 1, 1])  # the left half of the pelvis is the right one's mirror image
    give_way("sacrum", "pelvis", mirror)
    give_way("pelvis", "pelvis", mirror)
    return {name: replace(volume, distance=taken[name]) for name, volume in volumes.items()}


def build(out: Path) -> dict[str, Any]:
    """Write the pack: for each bone a signed distance as int8 in steps of `STEP_MM`, its frame and its joints."""
    surfaces, joints = read_surfaces()
    arrays: dict[str, np.ndarray] = {}
    volumes: dict[str, Volume] = {}
    for bone, surface in surfaces.items():
        kind = kind_of(bone)
        frame = bone_frame(surface.vertices)
        distance, low = distance_volume(surface, frame, SPACING[kind], SMOOTH[kind], pieces=kind == "ribs")
        volumes[bone] = Volume(distance.astype(np.float32), frame, low, SPACING[kind])
    for bone, volume in part_bones(volumes, surfaces, joints).items():
        distance, surface = volume.distance, surfaces[bone]
        arrays[f"{bone}/distance"] = np.clip(np.round(distance / STEP_MM), -127, 127).astype(np.int8)
        arrays[f"{bone}/frame"] = volume.frame.astype(np.float32)
        arrays[f"{bone}/low"] = volume.low.astype(np.float32)
        arrays[f"{bone}/spacing"] = np.array(volume.spacing, np.float32)
        arrays[f"{bone}/joints"] = np.array(surface.joints, dtype=str)
        print(f"{bone:11s} {distance.shape}  {(distance < 0).sum() * volume.spacing**3 / 1000:7.1f} cm3", flush=True)
    used = sorted({j for s in surfaces.values() for j in s.joints})
    used = sorted({*used, *(joints[j].driver for j in used if joints[j].driver)})
    arrays["joints/names"] = np.array(used, dtype=str)
    arrays["joints/anchor"] = np.array([joints[j].anchor for j in used], dtype=np.float32)
    arrays["joints/axis"] = np.array([joints[j].axis for j in used], dtype=np.float32)
    arrays["joints/range"] = np.array([joints[j].limits for j in used], dtype=np.float32)
    arrays["joints/slides"] = np.array([joints[j].slides for j in used], dtype=bool)
    arrays["joints/driver"] = np.array([joints[j].driver for j in used], dtype=str)
    arrays["joints/polynomial"] = np.array([joints[j].polynomial or (0.0,) * 4 for j in used], dtype=np.float32)
    with atomic_path(out) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    return arrays


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("bones.npz")
    build(target)
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
