"""A whole data set: planned from the seed, made image by image on all cores, and joined at the end."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from fracturelib._io.files import InputError, atomic_path
from fracturelib._io.parts import sweep
from fracturelib.simulate.image import SimulatedImage, simulate_image
from fracturelib.simulate.parts import RECIPE, PartedSet, recipe_of
from fracturelib.simulate.patient import PREVALENCE
from fracturelib.simulate.regions import REGIONS, region_of
from fracturelib.simulate.view import BOTH

CLASS_FOLDERS = ("Not Fractured", "Fractured")
SHARES = {"train": 0.68, "val": 0.13, "test": 0.19}  # of the patients
SHORTCUTS = ("marker", "cast", "exposure")
COLUMNS = (
    "file",
    "split",
    "label",
    "group",
    "width",
    "height",
    "region",
    "view",
    "side",
    "sex",
    "age_group",
    "hardware",
    "cast",
    "marker",
    "fracture_type",
    "bone",
    "displacement",
    "kv",
)
QUALITY = 82


@dataclass(frozen=True)
class Image:
    """One image to make. `shortcut` says which accidents of the image agree with the label, and which do not."""

    name: str
    split: str
    group: str
    region: str
    view: str
    seed: int
    image: int
    broken: bool
    shortcut: tuple[tuple[str, bool], ...] = ()


def plan_images(
    images: int, *, seed: int, regions: Sequence[str] = REGIONS, shortcut: dict[str, float] | None = None
) -> list[Image]:
    """What to make: patients with one to three images each; regions, splits and labels in even shares.

    In train and val an image agrees with its label in `marker`, `cast` or `exposure` with the given probability; in
    test these keep their usual, independent frequency.
    """
    rng = np.random.default_rng([seed, 4, images])
    counts: list[int] = []
    while sum(counts) < images:
        counts.append(int(rng.choice([1, 2, 3], p=[0.25, 0.5, 0.25])))
    counts[-1] -= sum(counts) - images
    splits = _splits(len(counts), len(regions), rng)
    broken = _even(len(counts), PREVALENCE, splits, len(regions), rng)
    radiographs = []
    for patient, (count, split) in enumerate(zip(counts, splits, strict=True)):
        region = regions[patient % len(regions)]
        names = tuple(region_of(region).turn)
        first = int(rng.integers(len(names)))
        order = [names[(first + i) % len(names)] for i in range(count)]
        for i, view in enumerate(order):
            view = BOTH if "lateral" in names and region not in ("shoulder", "hip") and rng.uniform() < 0.08 else view
            agrees = tuple(
                (kind, bool(rng.uniform() < rate)) for kind, rate in (shortcut or {}).items() if split != "test"
            )
            group = f"P{patient:04d}"
            radiographs.append(
                Image(
                    f"{group}_{i + 1}",
                    split,
                    group,
                    region,
                    view,
                    seed * 1_000_003 + patient,
                    i,
                    bool(broken[patient]),
                    agrees,
                )
            )
    return radiographs


def _splits(patients: int, regions: int, rng: np.random.Generator) -> list[str]:
    """A split for each patient, in even shares within each region."""
    splits = [""] * patients
    for region in range(regions):
        members = rng.permutation(np.arange(region, patients, regions))
        edges = np.cumsum([SHARES["test"], SHARES["val"]]) * len(members) + rng.uniform(0, 1)
        for rank, member in enumerate(members):
            splits[member] = "test" if rank + 1 <= edges[0] else "val" if rank + 1 <= edges[1] else "train"
    return splits


def _even(patients: int, share: float, splits: list[str], regions: int, rng: np.random.Generator) -> np.ndarray:
    """Which patients have a fracture: `share` of those of each split and region."""
    broken = np.zeros(patients, bool)
    for split in SHARES:
        carried = rng.uniform()
        for region in range(regions):
            members = [p for p in range(region, patients, regions) if splits[p] == split]
            wanted = share * len(members) + carried
            carried = wanted % 1
            broken[rng.permutation(members).astype(int)[: int(wanted)]] = True
    return broken


def make_image(image: Image, *, size: int = 320) -> SimulatedImage:
    """Make one planned image."""
    drawn = dict(image.shortcut)

    def make(label: bool) -> SimulatedImage:
        force = {kind: label == agrees for kind, agrees in drawn.items()}
        return simulate_image(
            image.region,
            seed=image.seed,
            view=image.view,
            fracture="any" if image.broken else None,
            size=size,
            image=image.image,
            marker=force.get("marker"),
            cast=force.get("cast"),
            poor=force.get("exposure"),
        )

    made = make(image.broken)
    if drawn and bool(made.masks) != image.broken:  # the fracture lies outside this image
        made = make(bool(made.masks))
    return made


def _polygons(mask: np.ndarray) -> list[list[float]]:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [c.reshape(-1).astype(float).tolist() for c in contours if len(c) >= 3]


def _instance(mask: np.ndarray) -> dict[str, Any] | None:
    polygons = _polygons(mask)
    if not polygons:
        return None
    x, y, w, h = cv2.boundingRect(mask)
    return {"segmentation": polygons, "bbox": [x, y, w, h], "area": int(mask.sum()), "iscrowd": 0}


def _write_image(image: Image, *, made: PartedSet, size: int) -> None:
    drawn = make_image(image, size=size)
    label = int(bool(drawn.masks))
    file = f"{image.split}/{CLASS_FOLDERS[label]}/{image.name}.jpg"
    height, width = drawn.image.shape
    with atomic_path(made.folder / file) as temporary:
        options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        temporary.write_bytes(cv2.imencode(".jpg", drawn.image, options)[1].tobytes())
    record = {
        "file": file,
        "split": image.split,
        "label": label,
        "group": image.group,
        "width": width,
        "height": height,
        **drawn.metadata,
    }
    instances = [i for i in map(_instance, drawn.masks) if i is not None]
    with atomic_path(made.record(image.name)) as temporary:
        temporary.write_text(json.dumps({"record": record, "instances": instances}))


def simulate_dataset(
    out: str | Path,
    *,
    images: int,
    seed: int = 0,
    size: int = 320,
    regions: Sequence[str] = REGIONS,
    shortcut: dict[str, float] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Make a data set in the layout of the data contract: class folders, manifest.csv, annotations.json.

    Parameters
    ----------
    out : str or Path
        The folder to make. What an interrupted call left there is kept, and the rest made.
    images : int
        How many images, of about half as many patients.
    seed : int
        Decides everything: the same seed gives the same images, on any number of workers.
    size : int
        Long side in pixels.
    regions : sequence of str
        Which of `REGIONS`.
    shortcut : dict of str to float, optional
        "marker", "cast" or "exposure" (a poor one), and the probability with which its presence agrees with the label
        in train and val. In test it has none of that.
    workers : int, optional
        Processes; all cores if not given.

    Returns
    -------
    DataFrame
        The manifest.

    Raises
    ------
    InputError
        If an argument is out of range, or `out` holds another data set.
    """
    folder = Path(out)
    _check(images, size, regions, shortcut, workers)
    config = {"images": images, "seed": seed, "size": size, "regions": list(regions), "shortcut": shortcut or {}}
    made = PartedSet(folder, config)
    if (finished := made.finished()) is not None:
        return finished
    radiographs = plan_images(images, seed=seed, regions=regions, shortcut=shortcut)
    write = partial(_write_image, made=made, size=size)
    made.make(radiographs, write, processes=workers or os.cpu_count() or 1, unit="image", progress=progress)
    for split in SHARES:
        for name in CLASS_FOLDERS:
            sweep(folder / split / name)
    return _join(made, radiographs)


def _join(made: PartedSet, images: list[Image]) -> pd.DataFrame:
    """Manifest and annotations from the records of all images."""
    records, pictures, annotations = [], [], []
    for number, image in enumerate(images, start=1):
        told = json.loads(made.record(image.name).read_text())
        record = told["record"]
        records.append(record)
        pictures.append(
            {"id": number, "file_name": record["file"], "width": record["width"], "height": record["height"]}
        )
        annotations += [{"id": 0, "image_id": number, "category_id": 1, **instance} for instance in told["instances"]]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    frame = pd.DataFrame(records)[list(COLUMNS)].sort_values("file", ignore_index=True)
    coco = {
        "info": {"description": "Simulated radiographs, made by fracturelib.simulate"},
        "images": pictures,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "fracture"}],
    }
    with atomic_path(made.folder / "annotations.json") as temporary:
        temporary.write_text(json.dumps(coco, separators=(",", ":")))
    made.finish(frame)
    return frame


def _check(
    images: int, size: int, regions: Sequence[str], shortcut: dict[str, float] | None, workers: int | None
) -> None:
    if images < 1:
        raise InputError(f"images is {images}; expected at least 1")
    if not 64 <= size <= 2048:
        raise InputError(f"size is {size}; expected 64 to 2048 pixels")
    for region in regions or [""]:
        if region not in REGIONS:
            raise InputError(f"region is {region!r}; expected one of {', '.join(REGIONS)}")
    for kind, rate in (shortcut or {}).items():
        if kind not in SHORTCUTS:
            raise InputError(f"shortcut is {kind!r}; expected one of {', '.join(SHORTCUTS)}")
        if not 0 <= rate <= 1:
            raise InputError(f"shortcut {kind} is {rate}; expected a probability from 0 to 1")
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; expected at least 1")


def image_of(folder: str | Path, name: str) -> Image:
    """The plan of one image of a finished data set, by its name without folder and suffix, to make it again."""
    config = recipe_of(Path(folder))
    if config is None:
        raise InputError(f"{folder} has no {RECIPE}; expected a folder made by simulate_dataset")
    images = plan_images(config["images"], seed=config["seed"], regions=config["regions"], shortcut=config["shortcut"])
    for image in images:
        if image.name == name:
            return image
    raise InputError(f"{name!r} is no image of {folder}; expected a name such as {images[0].name}")
