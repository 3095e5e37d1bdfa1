"""The folder of the capstone: small, simulated, with a table of scores, and two faults that its reader is to find."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError, atomic_path
from fracturelib.simulate.dataset import CLASS_FOLDERS, QUALITY
from fracturelib.simulate.image import simulate_image
from fracturelib.simulate.regions import region_of

REGIONS = ("ankle", "elbow", "lower leg", "wrist")
PATIENTS = {"train": 3, "val": 3, "test": 6}  # of each region
COPIED = 8  # images of train that stand in test once more, under other names
VIEWS = 2  # images of a patient
SKILL, OF_PATIENT = 1.35, 0.8  # how far the network's logits of the classes are apart, and what a patient's share
RECIPE = "unseen.json"
FIRST = 70_000  # where the simulated patients of this folder begin, far from those of the demo set


@dataclass(frozen=True)
class UnseenImage:
    """One image of the folder: what its table says, and what is true.

    `label` is what the folder says and `truth` what the image shows; `copy_of` names the file that it is a copy of.
    """

    file: str
    split: str
    label: int
    group: str
    region: str
    view: str
    truth: int
    score: float
    patient: int
    copy_of: str = ""


@dataclass(frozen=True)
class UnseenFolder:
    """What was planned for a seed.

    Attributes
    ----------
    images : tuple of UnseenImage
    copies : frozenset of str
        Test files that are copies of training images.
    swapped : str
        The region whose labels in test are exchanged.
    """

    images: tuple[UnseenImage, ...]
    copies: frozenset[str] = field(default_factory=frozenset)
    swapped: str = ""


def plan_unseen(seed: int) -> UnseenFolder:
    """What the folder of a seed holds; the same seed gives the same plan, without drawing a pixel."""
    rng = np.random.default_rng([seed, 11])
    swapped = str(rng.choice(REGIONS))
    everybody = [(region, split) for region in REGIONS for split, many in PATIENTS.items() for _ in range(many)]
    numbers = iter((rng.permutation(len(everybody) + COPIED) + 100).tolist())
    found: list[UnseenImage] = []
    for patient, (region, split) in enumerate(everybody):
        truth = int((patient + REGIONS.index(region)) % 2)
        group, shared = f"H{next(numbers)}", rng.normal()
        views = tuple(region_of(region).turn)
        start = int(rng.integers(len(views)))
        label = 1 - truth if split == "test" and region == swapped else truth
        for i in range(VIEWS):
            own = OF_PATIENT * shared + np.sqrt(1 - OF_PATIENT**2) * rng.normal()
            score = _score(SKILL * (truth - 0.5) + own)
            file, view = _file(split, label, f"{group}_{i + 1}"), views[(start + i) % len(views)]
            found.append(UnseenImage(file, split, label, group, region, view, truth, score, FIRST + patient))
    copies = _copies([i for i in found if i.split == "train" and i.region != swapped], numbers, rng)
    everything = sorted([*found, *copies], key=lambda image: image.file)
    return UnseenFolder(tuple(everything), frozenset(c.file for c in copies), swapped)


def _score(logit: float) -> float:
    return round(float(1 / (1 + np.exp(-1.4 * logit))), 4)


def _file(split: str, label: int, name: str) -> str:
    return f"{split}/{CLASS_FOLDERS[label]}/{name}.jpg"


def _copies(train: Sequence[UnseenImage], numbers: Iterator[int], rng: np.random.Generator) -> list[UnseenImage]:
    """As many of both classes, each of another patient, and each known by heart."""
    chosen: list[UnseenImage] = []
    for label in (0, 1):
        patients = list(dict.fromkeys(i.patient for i in train if i.truth == label))
        for patient in rng.permutation(patients)[: COPIED // 2]:
            original = next(i for i in train if i.patient == patient)
            group = f"H{next(numbers)}"
            score = _score((2 * label - 1) * rng.uniform(2.2, 3.0))
            file = _file("test", label, f"{group}_1")
            chosen.append(replace(original, file=file, split="test", group=group, score=score, copy_of=original.file))
    return chosen


def unseen_folder(out: str | Path, *, seed: int = 0, size: int = 128) -> pd.DataFrame:
    """Make the folder of the capstone: class folders, manifest.csv, and predictions.csv, "the scores of our network".

    Images and scores are simulated, and two faults are planted: finding them is the reader's. No outlines are left.

    Parameters
    ----------
    out : str or Path
        A new folder, or one that the same call made.
    seed : int
        Decides everything.
    size : int
        Long side in pixels.

    Returns
    -------
    DataFrame
        The table of scores: file, split, label, group, region, view, score; validation and test.

    Raises
    ------
    InputError
        If `out` holds something else.
    """
    folder, recipe = Path(out), {"seed": seed, "size": size}
    made = folder / RECIPE
    if folder.is_dir() and any(folder.iterdir()) and not (made.is_file() and json.loads(made.read_text()) == recipe):
        raise InputError(f"{folder} is not empty and holds another data set; expected a new folder")
    plan = plan_unseen(seed)
    drawn: dict[str, NDArray[np.uint8]] = {}
    for image in sorted(plan.images, key=lambda i: i.copy_of != ""):
        drawn[image.file] = drawn[image.copy_of] if image.copy_of else _draw(image, size)  # a copy has the same bytes
    rows = []
    for image in plan.images:
        picture = drawn[image.file]
        with atomic_path(folder / image.file) as temporary:
            options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
            temporary.write_bytes(cv2.imencode(".jpg", picture, options)[1].tobytes())
        told = {name: getattr(image, name) for name in ("file", "split", "label", "group", "region", "view")}
        rows.append(told | {"width": picture.shape[1], "height": picture.shape[0]})
    manifest = pd.DataFrame(rows)
    with atomic_path(folder / "manifest.csv") as temporary:
        manifest.to_csv(temporary, index=False, lineterminator="\n")
    table = predictions_of(plan)
    with atomic_path(folder / "predictions.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(made) as temporary:
        temporary.write_text(json.dumps(recipe))
    return table


def predictions_of(plan: UnseenFolder) -> pd.DataFrame:
    """The table of scores that lies in the folder: validation and test."""
    columns = ("file", "split", "label", "group", "region", "view", "score")
    rows = [{c: getattr(i, c) for c in columns} for i in plan.images if i.split != "train"]
    return pd.DataFrame(rows, columns=list(columns))


def _draw(image: UnseenImage, size: int) -> NDArray[np.uint8]:
    """The image; another patient's where the fracture would lie outside of it."""
    for attempt in range(20):
        made = simulate_image(
            image.region,
            seed=1_000 * attempt + image.patient,
            view=image.view,
            fracture="any" if image.truth else None,
            severity=0.9 if image.truth else None,
            size=size,
            image=int(Path(image.file).stem[-1]),
        )
        if bool(made.masks) == bool(image.truth):
            return made.image
    raise InputError(f"{image.file}: no fracture can be seen in 20 attempts")
