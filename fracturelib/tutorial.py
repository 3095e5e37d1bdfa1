"""What the notebooks share: which data, where runs go, and what stands in for a notebook that was not run yet."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable
from fracturelib._io.memory import keep_freed_memory
from fracturelib.data.coco import fracture_mask
from fracturelib.data.dataset import data_folder, fingerprint, load_annotations, load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.labels import CLASSES
from fracturelib.data.masks import mask_to_square
from fracturelib.data.predictions import read_predictions
from fracturelib.data.studies import load_studies, load_truth
from fracturelib.models.classifier import Classifier, load_classifier, normalised
from fracturelib.models.shipped import PRETRAINED, PRETRAINED_SPLITS
from fracturelib.models.small_cnn import SmallCNN
from fracturelib.simulate.knee_set import simulate_knees
from fracturelib.training.config import TrainConfig
from fracturelib.training.runs import MODEL_FILE, PREDICTIONS_FILE, Run, scored, train_folder
from fracturelib.training.train import grey_statistics
from fracturelib.viz.figures import losses_plot
from fracturelib.viz.gradcam_explorer import GradCAMExplorer

__all__ = [
    "classifier_line",
    "data_line",
    "faulty_loops",
    "open_classifier",
    "open_explorer",
    "open_knees",
    "open_predictions",
    "open_split",
    "show_progress",
    "train_course_model",
]

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "data" / "demo"
CHECKPOINTS = ROOT / "data" / "checkpoints"
SHIPPED_MODEL = CHECKPOINTS / "demo-small-cnn.pt"
SHIPPED_PREDICTIONS = CHECKPOINTS / "demo-small-cnn-predictions.csv"
SHIPPED_HISTORY = CHECKPOINTS / "demo-small-cnn-history.csv"
KNEES = 480  # simulated studies, so that making them takes two minutes on two cores
RECIPE = TrainConfig()
FAULTS = {"A": "labels", "B": "order", "C": "zero_grad"}  # what is wrong with the loops of an exercise in lesson 02
SHORT_RECIPE = TrainConfig(epochs=5)
RUN, SHORT_RUN = "small-cnn", "small-cnn-short"  # the long run of lesson 02, and the one for slow laptops


@dataclass(frozen=True)
class Split:
    """One split, ready to look at.

    Attributes
    ----------
    frame : DataFrame
        Its rows of the manifest.
    images : (n, size, size) uint8; of studies (n, slices, height, width)
    labels : (n,) int64
    masks : like images, uint8 of 0 and 1, or None if the data set has no annotations
    """

    frame: pd.DataFrame
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.uint8] | None

    def some_of_each(self, count: int, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Up to `count` images of each class, as many of one as of the other: places of class 0 and of 1, rising."""
        return _some_of_each(self.labels, count, seed)

    def plant_copies(
        self, folder: str | Path, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], *, pairs: int = 60
    ) -> pd.DataFrame:
        """Write a small folder of train and val in which every third image of val is a changed copy of one of train.

        All the other images are of different patients, and each stands in the class folder of its own label.

        Parameters
        ----------
        folder : str or Path
            Where train/ and val/ go.
        change : callable
            What is done to a copy: (size, size) uint8 to the same.
        pairs : int
            Images of train, and as many of val; fewer if there are not enough patients.

        Returns
        -------
        DataFrame
            For each pair: the places of the images in train and in val (int64), and copied (bool).
        """
        places = np.flatnonzero(~self.frame["group"].duplicated().to_numpy())
        drawn = places[np.concatenate(_some_of_each(self.labels[places], pairs, seed=0))]
        half = len(drawn) // 2
        first, second = np.random.default_rng(0).permutation(drawn)[: 2 * half].reshape(2, half)
        copied = np.arange(half) % 3 == 0
        planted = pd.DataFrame({"train": first, "val": np.where(copied, first, second), "copied": copied})
        for i, (one, other, same) in enumerate(planted.itertuples(index=False)):
            shown = change(self.images[other]) if same else self.images[other]
            for name, place, image in (("train", one, self.images[one]), ("val", other, shown)):
                file = Path(folder) / name / CLASSES[self.labels[place]] / f"{name}{i:03d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        return planted


def _some_of_each(labels: NDArray[np.int64], count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    places = [np.flatnonzero(labels == label) for label in (0, 1)]
    rng, least = np.random.default_rng(seed), min(count, *map(len, places))
    negative, fractured = (np.sort(rng.choice(p, least, replace=False)) for p in places)
    return negative, fractured


def is_demo() -> bool:
    """Whether the notebooks read the embedded set."""
    return data_folder().resolve() == DEMO


def data_line(*, patients: int = 1, outlined: int = 0, knees: bool = False) -> str:
    """Which data this is and what it lacks, a sentence a line, without a path that differs from machine to machine.

    Parameters
    ----------
    patients : int
        A lesson needs so many of each class in each split. A folder with fewer is stood in for by the demo set, from
        here on, and the first line says so.
    outlined : int
        So many of them with outlines of their fractures.
    knees : bool
        The lesson reads what `open_knees` makes, and no folder of radiographs.
    """
    keep_freed_memory()  # a notebook has a process of its own, and this is its first line
    if knees:
        return f"Data: {KNEES} simulated studies of knees in MRI, made the first time, which takes some two minutes"
    lacking = "" if is_demo() else _lacking(patients, outlined)
    if lacking:
        lacking = f"Your folder {printable(data_folder().name)!r} {lacking}: the demo set stands in for it.\n"
        os.environ["FRACTURE_DATA"] = str(DEMO)
    frame = load_manifest(data_folder())
    kind = (
        "the embedded demo set (simulated radiographs)"
        if is_demo()
        else f"your folder {printable(data_folder().name)!r} (FRACTURE_DATA)"
    )
    line = f"Data: {kind}, {len(frame)} images of {frame['group'].nunique()} groups, {frame['label'].sum()} fractured"
    if list(frame["group"]) == list(frame["file"]):
        line += "\nNo patients are known: each image counts as a patient of its own, and intervals come out too narrow."
    if test_split(frame) != "test":
        had = "a test split of one class" if (frame["split"] == "test").any() else "no test split"
        line += f"\nThere is {had}: val stands in for it, so that whatever is said of test images flatters."
    return lacking + line


def _lacking(patients: int, outlined: int) -> str:
    """What these data lack for a lesson that needs so much, in words; empty if nothing."""
    frame = load_manifest(data_folder())
    frame = frame.assign(outlined=frame["file"].isin(load_annotations(data_folder())))
    for split in dict.fromkeys(("train", "val", test_split(frame))):
        part = frame[frame["split"] == split]
        for what, rows, needed in (
            ("without a fracture", part[part["label"] == 0], patients),
            ("with a fracture", part[part["label"] == 1], patients),
            ("with an outlined fracture", part[(part["label"] == 1) & part["outlined"]], outlined),
        ):
            if rows["group"].nunique() < needed:
                return f"has {rows['group'].nunique()} patients {what} in {split}, where this lesson needs {needed}"
    return ""


def test_split(frame: pd.DataFrame) -> str:
    """The split that is judged on: "test", or "val" if there is no test or one of a single class."""
    return "test" if frame.loc[frame["split"] == "test", "label"].nunique() == 2 else "val"


def open_split(split: str, *, size: int = RECIPE.size) -> Split:
    """The images of "train", "val" or "test" as squares; if there is no test of both classes, val stands in for it."""
    folder = data_folder()
    frame = load_manifest(folder)
    split = test_split(frame) if split == "test" else split
    frame = frame[frame["split"] == split].reset_index(drop=True)
    images = load_images(folder, list(frame["file"]), size=size)
    annotations = load_annotations(folder)
    masks = np.zeros_like(images) if annotations else None
    if masks is not None:
        for i, row in frame.iterrows():
            if row["file"] in annotations:
                mask = fracture_mask(annotations[row["file"]], width=row["width"], height=row["height"])
                masks[i] = mask_to_square(mask, size)
    return Split(frame, images, np.array(frame["label"], np.int64), masks)


def open_knees(split: str) -> Split:
    """The simulated MRI studies of "train", "val" or "test", with images (n, slices, height, width) and such masks.

    They are made once, in data/raw/knees (`FRACTURE_KNEES` names another folder), on all cores: a copy that came along
    would be larger than all the rest of the course.
    """
    folder = Path(os.environ.get("FRACTURE_KNEES") or ROOT / "data" / "raw" / "knees")
    simulate_knees(folder, studies=KNEES, progress=show_progress())
    studies, frame = load_studies(folder, split)
    masks = load_truth(folder, frame, studies.shape[1:]).astype(np.uint8)
    masks[frame["label"] == 0] = 0  # of a degenerated ligament the truth is known as well, but it is not torn
    return Split(frame, studies, np.array(frame["label"], np.int64), masks)


def show_progress() -> bool:
    """Whether long cells draw a bar: for a reader yes; not under `FRACTURE_SHIPPED`, for outputs that repeat."""
    return not os.environ.get("FRACTURE_SHIPPED")


def run_folder(name: str = RUN) -> Path:
    """Where lesson 02 leaves its run on these data: `FRACTURE_RUNS` (or runs/) / name-fingerprint."""
    root = Path(os.environ.get("FRACTURE_RUNS") or ROOT / "runs")
    return root / f"{name}-{fingerprint(load_manifest(data_folder()))[:8]}"


def train_course_model(
    config: TrainConfig = RECIPE, *, short: bool = False, finished: bool = False, progress: bool = False
) -> Run:
    """Train the classifier of the course on these data, or go on with it, or only read it if it is finished.

    Parameters
    ----------
    config : TrainConfig
    short : bool
        Take `SHORT_RECIPE` and a folder of its own instead. Later lessons read that run where there is no long one.
    finished : bool
        Train nothing: open the run on the demo set that comes with the course.
    progress : bool
        Show bars, where `show_progress` says so.

    Raises
    ------
    InputError
        If `finished` is asked for with another folder than the demo set.
    """
    if finished:
        if not is_demo():
            raise InputError("the finished run is of the demo set; expected finished=False for a folder of your own")
        scores = read_predictions(SHIPPED_PREDICTIONS)
        return Run(CHECKPOINTS, load_classifier(SHIPPED_MODEL), pd.read_csv(SHIPPED_HISTORY), scores)
    config, name = (SHORT_RECIPE, SHORT_RUN) if short else (config, RUN)
    return train_folder(data_folder(), run_folder(name), config, progress=progress and show_progress())


def faulty_loops(images: NDArray[np.uint8], labels: NDArray[np.int64], *, steps: int = 60, seed: int = 0) -> Figure:
    """Losses of a sound training loop and of three with a fault each (`FAULTS`): (n, s, s) uint8, (n,) -> Figure.

    All begin with the same small network and see the same few images, much reduced.
    """
    every = max(1, images.shape[1] // 32)
    x = normalised(torch.from_numpy(np.ascontiguousarray(images[:, ::every, ::every])), *grey_statistics(images))
    true = torch.from_numpy(np.asarray(labels, np.int64))
    losses = {}
    for name, fault in {"a sound loop": "", **{f"loop {letter}": fault for letter, fault in FAULTS.items()}}.items():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            losses[name] = _losses(SmallCNN(width=4), x, true, fault, steps)
    return losses_plot(losses)


def _losses(model: SmallCNN, x: torch.Tensor, true: torch.Tensor, fault: str, steps: int) -> list[float]:
    """The loss of each step of a loop with a fault."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(steps):
        target = true[torch.randperm(len(true))] if fault == "labels" else true
        loss = F.cross_entropy(model(x), target)
        losses.append(loss.item())
        if fault != "zero_grad":
            optimizer.zero_grad()
        if fault == "order":
            optimizer.step()
        loss.backward()
        if fault != "order":
            optimizer.step()
    return losses


def own_run() -> Path | None:
    """The finished run of lesson 02 on these data, the long one before the short one, if any.

    None under `FRACTURE_SHIPPED`, for outputs that repeat.
    """
    if os.environ.get("FRACTURE_SHIPPED"):
        return None
    for folder in (run_folder(RUN), run_folder(SHORT_RUN)):
        if all((folder / name).is_file() for name in (MODEL_FILE, PREDICTIONS_FILE)):
            return folder
    return None


def open_classifier(*, real: bool = False) -> Classifier:
    """The reader's own classifier from lesson 02 where it exists, else a shipped one.

    Parameters
    ----------
    real : bool
        For images that are not the demo's, take the shipped network for real images, trained on FracAtlas; else the
        small CNN of the demo set, whose layers lesson 05 takes apart by name.
    """
    folder = own_run()
    if folder:
        return load_classifier(folder / MODEL_FILE)
    return load_classifier(PRETRAINED if real and not is_demo() else SHIPPED_MODEL)


def classifier_line(*, real: bool = False) -> str:
    """Which classifier `open_classifier` gives, in one line."""
    folder = own_run()
    if folder:
        short = folder == run_folder(SHORT_RUN)
        return "Classifier: your own, from lesson 02" + (", of the short training" if short else "")
    if is_demo():
        return "Classifier: the shipped one, trained on the demo set"
    if not real:
        return (
            "Classifier: the shipped one, trained on the demo set; it has never seen such images: "
            "run lesson 02 on them first"
        )
    seen = learnt_from(load_manifest(data_folder()))
    line = "Classifier: the shipped one for real images, trained on FracAtlas: its first look alone"
    if seen:
        line += f"; {seen} images of val and test are called like images that it learnt from: no judge of it"
    return line


def learnt_from(frame: pd.DataFrame) -> int:
    """How many images of val and test are named as one that the shipped network for real images learnt from."""
    splits = pd.read_csv(PRETRAINED_SPLITS)
    names = set(splits.loc[splits["split"] != "left out", "name"])
    judged = frame.loc[frame["split"] != "train", "file"]
    return sum(Path(file).name in names for file in judged)


def open_predictions() -> pd.DataFrame:
    """Scores on val and test: file, label, group, score, split and the manifest's columns.

    If there is no test of both classes, val's rows stand in for it, a second time.
    """
    folder = own_run()
    if not folder and not is_demo():
        classifier = open_classifier()
        val = open_split("val", size=classifier.size)
        found = scored(classifier, val.frame, val.images)
        if test_split(load_manifest(data_folder())) == "test":
            test = open_split("test", size=classifier.size)
            found = pd.concat([found, scored(classifier, test.frame, test.images)], ignore_index=True)
    else:
        found = read_predictions(folder / PREDICTIONS_FILE if folder else SHIPPED_PREDICTIONS)
    val_rows = found[found["split"] == "val"]
    test_rows = val_rows if test_split(found) == "val" else found[found["split"] == "test"]
    return pd.concat([val_rows, test_rows.assign(split="test")], ignore_index=True)


def open_explorer(split: str = "test") -> GradCAMExplorer:
    """The explorer over the images of a split, with what the manifest says of them; the network runs once over them."""
    classifier = open_classifier(real=True)
    images = open_split(split, size=classifier.size)
    frame = images.frame
    known = "region" in frame and frame["region"].notna().all()
    return GradCAMExplorer(
        classifier,
        images.images,
        images.labels,
        files=list(frame["file"]),
        masks=images.masks,
        regions=list(frame["region"]) if known else None,
        folder=data_folder(),
    )
