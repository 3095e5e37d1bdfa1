"""Where bones break, how often, how, and how far the pieces move.

Weights follow the table of incidence of Court-Brown & Caesar, "Epidemiology of adult fractures: a review", Injury
37:691-697 (2006), doi 10.1016/j.injury.2006.04.130, within each region; finer shares (which finger, which kind) are
round guesses. Buckle and greenstick fractures are children's alone.

How many are displaced is published for two of them. Of 335 fractures of the distal radius almost two thirds were, by
2 mm of ulnar variance or by tilt (Brogren, Petranek & Atroshi, BMC Musculoskeletal Disorders 8:48, 2007, doi
10.1186/1471-2474-8-48). Of 1,027 of the proximal humerus half were, by Neer's criteria (Court-Brown, Garg & McQueen,
Acta Orthopaedica Scandinavica 72:365-371, 2001). Elsewhere a half is a guess, and so is how far the displaced ones
are. Comminuted ones are a minority: of 250 tibial fractures, most of them from traffic, more than 65 % had little
comminution (Saied & Karimi Mobarake, Journal of Applied Sciences 7:3823-3826, 2007).
"""

import numpy as np

# Within a region: bone, weight (Court-Brown & Caesar), range along the bone, kinds with weights.
_SHAFT: dict[str, float] = {"transverse": 2, "oblique": 2.5, "spiral": 1.5, "comminuted": 3, "hairline": 1.3}
_END: dict[str, float] = {
    "transverse": 2.5,
    "oblique": 1.5,
    "impacted": 2.5,
    "comminuted": 3,
    "hairline": 1.5,
    "avulsion": 1,
}
_SMALL: dict[str, float] = {"transverse": 3, "oblique": 3, "hairline": 1.5, "comminuted": 2, "avulsion": 1}
_CARPAL: dict[str, float] = {"transverse": 2, "hairline": 4, "avulsion": 2}
_DISPLACED = {("radius", True): 0.65, ("humerus", False): 0.5}  # by bone, and whether it broke in its distal half
Site = tuple[str, float, tuple[float, float], dict[str, float]]
_DISTAL_FOREARM: tuple[Site, ...] = (
    ("radius", 17.5, (0.88, 0.95), _END),
    ("ulna", 4.0, (0.86, 0.97), _END | {"avulsion": 3}),
    ("scaphoid", 2.2, (0.35, 0.65), _CARPAL),
    ("triquetrum", 0.6, (0.3, 0.7), {"avulsion": 3, "hairline": 1}),
    ("mc5", 2.0, (0.15, 0.5), _SMALL),
    ("mc1", 1.5, (0.08, 0.3), _SMALL),
)
_HAND: tuple[Site, ...] = (
    ("mc5", 5.0, (0.3, 0.85), _SMALL),
    *((f"mc{r}", 1.8, (0.2, 0.85), _SHAFT) for r in (2, 3, 4)),
    ("mc1", 1.5, (0.1, 0.6), _SMALL),
    *((f"pp{r}", 1.1, (0.12, 0.85), _SMALL) for r in (1, 2, 3, 4, 5)),
    *((f"mp{r}", 0.6, (0.12, 0.85), _SMALL) for r in (2, 3, 4, 5)),
    *((f"dp{r}", 0.6, (0.1, 0.8), _SMALL) for r in (1, 2, 3, 4, 5)),
)
SITES: dict[str, tuple[Site, ...]] = {
    "hand": _HAND,
    "wrist": _DISTAL_FOREARM,
    "forearm": (
        ("radius", 4.0, (0.3, 0.9), _SHAFT),
        ("ulna", 3.0, (0.25, 0.9), _SHAFT),
        ("radius", 4.0, (0.88, 0.95), _END),
        ("ulna", 1.0, (0.05, 0.12), _END),
        ("radius", 1.2, (0.03, 0.09), _END),
    ),
    "elbow": (
        ("radius", 5.0, (0.02, 0.08), _END),
        ("ulna", 1.6, (0.04, 0.11), _END),
        ("humerus", 2.0, (0.9, 0.96), _END),
        ("humerus", 0.8, (0.72, 0.88), _SHAFT),
    ),
    "shoulder": (
        ("humerus", 5.7, (0.07, 0.17), _END),
        ("clavicle", 2.6, (0.35, 0.85), _SHAFT),
        ("humerus", 0.8, (0.18, 0.35), _SHAFT),
        ("scapula", 0.3, (0.3, 0.7), {"hairline": 2, "transverse": 1}),
    ),
    "hip": (
        ("femur", 11.6, (0.065, 0.15), {"oblique": 4, "comminuted": 3, "impacted": 3, "hairline": 3, "avulsion": 1}),
        ("femur", 1.5, (0.16, 0.26), _SHAFT),
        ("pelvis", 1.5, (0.7, 0.95), {"hairline": 3, "oblique": 2}),
    ),
    "knee": (
        ("tibia", 1.6, (0.025, 0.1), _END),
        ("patella", 1.2, (0.3, 0.7), {"transverse": 4, "comminuted": 2, "hairline": 2, "avulsion": 1}),
        ("femur", 0.9, (0.86, 0.96), _END),
        ("fibula", 0.6, (0.03, 0.14), _SMALL),
        ("tibia", 0.4, (0.12, 0.3), _SHAFT),
    ),
    "lower leg": (("tibia", 1.9, (0.2, 0.88), _SHAFT), ("fibula", 1.4, (0.15, 0.9), _SHAFT)),
    "ankle": (
        ("fibula", 5.0, (0.9, 0.975), _SMALL | {"spiral": 3}),
        ("tibia", 3.0, (0.95, 0.985), _END | {"avulsion": 4}),
        ("talus", 0.4, (0.3, 0.7), _CARPAL),
        ("calcaneus", 0.8, (0.3, 0.75), _CARPAL | {"comminuted": 2}),
        ("tibia", 0.7, (0.86, 0.94), _SHAFT),
    ),
    "foot": (
        ("mt5", 3.0, (0.06, 0.3), _SMALL),
        *((f"mt{r}", 1.3, (0.3, 0.88), _SMALL) for r in (2, 3, 4, 5)),
        ("mt1", 0.7, (0.2, 0.8), _SMALL),
        *((f"pp{r}t", 0.7, (0.2, 0.8), _SMALL) for r in (1, 2, 3, 4, 5)),
        ("calcaneus", 1.2, (0.3, 0.75), _CARPAL | {"comminuted": 2}),
        ("navicular", 0.3, (0.35, 0.65), _CARPAL),
        ("dp1t", 0.6, (0.25, 0.8), _SMALL),
    ),
}


def choose_site(
    region: str, rng: np.random.Generator, *, child: bool, kind: str | None = None
) -> tuple[str, float, str]:
    """A bone, a fraction along it and a kind of fracture, by their frequencies in a region."""
    sites = SITES[region]
    if kind is not None and kind not in ("buckle", "greenstick"):
        sites = tuple(s for s in sites if kind in s[3]) or sites
    elif kind is not None:
        sites = tuple(s for s in sites if _tubular(s[0])) or sites
    weights = np.array([s[1] for s in sites], float) ** 0.75
    bone, _, (low, high), kinds = sites[rng.choice(len(sites), p=weights / weights.sum())]
    if child and _tubular(bone) and kind is None:
        kinds = {**kinds, "buckle": 4.0 if high > 0.8 or low < 0.2 else 1.0, "greenstick": 3.0}
    names = sorted(kinds)
    chance = np.array([kinds[n] for n in names], float)
    chosen = kind if kind is not None else names[rng.choice(len(names), p=chance / chance.sum())]
    return bone, float(rng.uniform(low, high)), chosen


def choose_severity(bone: str, fraction: float, rng: np.random.Generator) -> float:
    """How badly a bone is broken, 0..1. Those that are not displaced have moved by a millimetre or so, below 0.12."""
    if rng.uniform() >= _DISPLACED.get((bone, fraction > 0.5), 0.65):
        return float(rng.uniform(0, 0.12))
    return float(0.2 + 0.8 * rng.beta(2.0, 1.8))


def _tubular(bone: str) -> bool:
    return bone in ("radius", "ulna", "humerus", "tibia", "fibula", "femur") or bone[:2] in ("mc", "mt", "pp")
