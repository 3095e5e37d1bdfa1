"""What a second, closer look is worth: `python benchmarks/closer_look.py DIR --run RUN`.

RUN is what `fracture train DIR --folds N --model localizing_efficientnet` leaves. Each image is looked at once whole,
by the network of the fold that never met its patient; then its strongest places are cut from the image as it is
stored, without shrinking, and judged by a network that learnt from such cuts: fractures, and the places that the
first look took for one. The features of both are ImageNet's, frozen. Inside each fold the second network learns from
the images that the first learnt from, and how the two looks are weighed is fitted on the fold's validation images, so
nothing has met the patients that it is judged on, but for one thing: where training images are cut was chosen out of
fold. Printed: AUC and average precision of the first look, of both, and of their paired difference, by patient, and
what the second look costs in pixels.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from out_of_fold import said_by_others
from real_images import N, shown
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from fracturelib.data.coco import fracture_mask
from fracturelib.data.dataset import load_annotations, load_manifest
from fracturelib.data.decode import read_grey
from fracturelib.data.images import load_images, square_geometry
from fracturelib.data.predictions import read_predictions
from fracturelib.metrics.bootstrap import paired_group_bootstrap
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.models.classifier import load_classifier
from fracturelib.models.localizer import LocalizingNetwork
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.features import Features, frozen_features
from fracturelib.training.finetune import begun_from, fit_localizer, judged
from fracturelib.training.folds import splits_of_folds
from fracturelib.training.train import Images

Places = list[tuple[int, int]]


@dataclass(frozen=True)
class Cuts:
    """Squares of images as stored, and what is in them."""

    images: NDArray[np.uint8]  # (m, side, side)
    masks: NDArray[np.uint8]
    labels: NDArray[np.int64]  # 1 with most of a fracture, 0 with none of one, -1 with a part
    owner: NDArray[np.int64]  # which image each is of
    asked: NDArray[np.bool_]  # the first look chose it, knowing nothing of outlines


def strongest_places(cells: NDArray[np.float32], count: int, apart: float) -> Places:
    """The strongest cells of a map (h, w), no two nearer than `apart` cells: (row, column)."""
    left = np.array(cells, float)
    rows, columns = np.indices(left.shape)
    found: Places = []
    for _ in range(count):
        row, column = (int(i) for i in np.unravel_index(left.argmax(), left.shape))
        if not np.isfinite(left[row, column]):
            break
        found.append((row, column))
        left[np.hypot(rows - row, columns - column) < apart] = -np.inf
    return found


def cut(image: NDArray[np.uint8], x: float, y: float, side: int) -> NDArray[np.uint8]:
    """A square around a point, moved to lie inside the image where it fits: (h, w) -> (side, side), black beside it."""
    result = np.zeros((side, side), np.uint8)
    height, width = image.shape
    left, top = (int(min(max(at - side / 2, 0), max(most - side, 0))) for at, most in ((x, width), (y, height)))
    part = image[top : top + side, left : left + side]
    result[: part.shape[0], : part.shape[1]] = part
    return result


def made_cuts(folder: Path, frame: pd.DataFrame, cells: NDArray[np.float32], count: int, side: int, size: int) -> Cuts:
    """The strongest places of every image, and where it is broken."""
    annotations = load_annotations(folder)
    images, masks, labels, owner, asked = [], [], [], [], []
    for i, row in enumerate(tqdm(frame.to_dict("records"), desc="cuts", unit="image")):
        image = read_grey(folder / row["file"])
        height, width = image.shape
        drawn = np.zeros(image.shape, np.uint8)
        known = annotations.get(row["file"], []) if row["label"] else []
        if known:
            drawn = fracture_mask(known, width=width, height=height)
        geometry = square_geometry(width, height, size)
        cell = size / cells.shape[1]
        places = strongest_places(cells[i], count, 0.5 * side * geometry.scale / cell)
        points = geometry.to_image((np.array(places, float)[:, ::-1] + 0.5) * cell)
        points = np.clip(points, 0, [width - 1, height - 1])
        centres = [np.argwhere(fracture_mask([one], width=width, height=height)).mean(axis=0)[::-1] for one in known]
        for j, (x, y) in enumerate([*points, *centres]):
            mask = cut(drawn, x, y, side)
            inside = mask.sum() / max(drawn.sum(), 1)
            images.append(cut(image, x, y, side))
            masks.append(mask)
            labels.append(1 if inside >= 0.5 or (j >= len(points) and mask.any()) else -1 if mask.any() else 0)
            owner.append(i)
            asked.append(j < len(points))
    return Cuts(np.stack(images), np.stack(masks), np.array(labels), np.array(owner), np.array(asked))


def evidence(model: LocalizingNetwork, cuts: Cuts, kept: Features, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    part = Images(cuts.images[rows], np.zeros(len(rows), np.int64))
    logits, _ = judged(model, part, "heads", kept=kept.of(rows))
    return (logits[:, 1] - logits[:, 0]).double().numpy()


def strongest_of(
    values: NDArray[np.float64], owner: NDArray[np.int64], images: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The strongest cut of each image."""
    return pd.Series(values).groupby(owner).max().loc[images].to_numpy()


def first_look(
    run: Path, split: NDArray[np.str_], fold: int, images: Images, kept: Features
) -> tuple[torch.Tensor, ...]:
    """Evidence and cells of all images by a fold's network."""
    model = load_classifier(run / f"fold-{fold}" / "model.pt").model
    assert isinstance(model, LocalizingNetwork)
    rows = np.flatnonzero(split != "train")
    part = Images(images.images[rows], images.labels[rows])
    logits, cells = judged(model, part, "heads", kept=kept.of(rows))
    return torch.from_numpy(rows), logits[:, 1] - logits[:, 0], cells


def keep(table: pd.DataFrame, out: Path) -> None:
    """Both looks' scores, with decisions at the thresholds that the other folds choose for sensitivity 0.90."""
    both = table.assign(first=table["score"], score=table["both"])
    both["decision"] = np.where(said_by_others(both) > 0, "Fractured", "Not Fractured")
    both.to_csv(out, index=False)


def report(table: pd.DataFrame) -> None:
    for name, column in (("first look", "score"), ("both looks", "both"), ("closer look alone", "cuts")):
        print(f"{name}: AUC {shown(roc_auc, table, column)}, AP {shown(average_precision, table, column)}")
    for what, metric in (("AUC", roc_auc), ("AP", average_precision)):
        gap = paired_group_bootstrap(metric, table["label"], table["both"], table["score"], list(table["group"]), n=N)
        print(f"{what} of both above the first: {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--side", type=int, default=256, help="of a cut, in pixels of the stored image (%(default)s)")
    parser.add_argument("--places", type=int, default=2, help="cuts of each image (%(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="of the second network (%(default)s)")
    parser.add_argument("--out", type=Path, help="a new table of both looks' scores, for out_of_fold.py")
    args = parser.parse_args()
    held = read_predictions(args.run / "predictions.csv")
    held = held[held["fold"].notna()].reset_index(drop=True)
    frame = load_manifest(args.folder)
    frame = frame[frame["split"] != "test"].reset_index(drop=True)
    folds = int(held["fold"].max())
    size = load_classifier(args.run / "fold-1" / "model.pt").size
    seed = int(load_classifier(args.run / "fold-1" / "model.pt").extra["config"]["seed"])
    splits = splits_of_folds(args.folder, frame, folds, seed)
    labels = frame["label"].to_numpy(np.int64)
    everything = Images(load_images(args.folder, list(frame["file"]), size=size), labels)
    whole = frozen_features(begun_from(FineTuneConfig(size=size), None), everything.images, progress=True)
    looks = [first_look(args.run, split, fold, everything, whole) for fold, split in enumerate(splits, 1)]
    cells = np.zeros((len(frame), size // 8, size // 8), np.float32)
    for (rows, _, found), split in zip(looks, splits, strict=True):
        mine = split[rows.numpy()] == "test"
        cells[rows.numpy()[mine]] = found.numpy()[mine]
    cuts = made_cuts(args.folder, frame, cells, args.places, args.side, size)
    config = FineTuneConfig(size=args.side, epochs=args.epochs, seed=seed)
    features = frozen_features(begun_from(config, None), cuts.images, progress=True)
    score, alone = np.zeros(len(frame)), np.zeros(len(frame))
    for fold, ((rows, first, _), split) in enumerate(zip(looks, splits, strict=True), 1):
        part = {s: np.flatnonzero((split[cuts.owner] == s) & (cuts.labels >= 0)) for s in ("train", "val")}
        sets = [Images(cuts.images[part[s]], cuts.labels[part[s]]) for s in part]
        classifier, history = fit_localizer(
            *sets, cuts.masks[part["train"]], cuts.masks[part["val"]], config,
            kept={s: features.of(part[s]) for s in part}, progress=False,
        )  # fmt: skip
        model = classifier.model
        assert isinstance(model, LocalizingNetwork)
        x: dict[str, NDArray[np.float64]] = {}
        for s in ("val", "test"):
            images = np.flatnonzero(split == s)
            chosen = np.flatnonzero((split[cuts.owner] == s) & cuts.asked)
            second = strongest_of(evidence(model, cuts, features, chosen), cuts.owner[chosen], images)
            x[s] = np.stack([pd.Series(first.double().numpy(), rows.numpy()).loc[images].to_numpy(), second], axis=1)
            if s == "test":
                alone[images] = second
        line = LogisticRegression(C=1.0).fit(x["val"], labels[split == "val"])
        score[split == "test"] = line.predict_proba(x["test"])[:, 1]
        print(
            f"fold {fold}: AUC of cuts {history['val_auc'].iloc[-1]:.3f}, weights {line.coef_[0].round(2)}", flush=True
        )
    table = held.set_index("file").loc[list(frame["file"])].reset_index()
    table["label"], table["both"], table["cuts"] = labels, score, alone
    if args.out:
        keep(table, args.out)
    report(table)
    print(f"cost: {1 + args.places * args.side**2 / size**2:.2f} looks")


if __name__ == "__main__":
    main()
