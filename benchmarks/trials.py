r"""What small changes are worth: `python benchmarks/trials.py DIR [--folds 5] [--seeds 3] [--only lines]`.

    fracture data import PATH/TO/FracAtlas data/raw/fracatlas --drop-copies --drop-contradictions --drop-broken \
        --splits docs/fracatlas-one-split.csv --listed-only
    python benchmarks/trials.py data/raw/fracatlas

Three tables. *The picture*: resolution, padding or squashing, CLAHE and mirroring, for a line on ImageNet's frozen
features (EfficientNet-Lite0), its penalty chosen within the training images. *The balance*: class weights, oversampling
and focal loss for the same line, at the threshold 0.5 and at one chosen on other images. Both are out of fold over all
images, each group in one fold. *The heads*: what each part of the recipe of the two heads does, on the data set's own
splits. Beside each row is its gain over the first of its table (over metadata alone, for the first of the pictures), on
the same images; intervals are bootstraps over groups.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fracturelib.data.decode import read_grey
from fracturelib.data.images import load_images
from fracturelib.metrics.bootstrap import group_bootstrap, paired_group_bootstrap
from fracturelib.metrics.calibration import calibration_error
from fracturelib.metrics.classification import average_precision, confusion_at, roc_auc
from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.models.localizer import LocalizingEfficientNet, with_imagenet_weights
from fracturelib.training.baselines import metadata_scores
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.features import Features, frozen_features, whole_features
from fracturelib.training.finetune import fit_localizer, judged
from fracturelib.training.train import Images
from fracturelib.tutorial import Split, open_split

N, SIZE = 1000, 384
PENALTIES = (0.0003, 0.001, 0.003, 0.01)
Numbers = NDArray[np.float64]
Fit = Callable[[Numbers, NDArray[np.int64], NDArray[np.str_]], Callable[[Numbers], Numbers]]


def row(
    name: str, y: Sequence[int] | NDArray[np.int64], score: Numbers, group: list[str], first: Numbers | None
) -> None:
    said = [f"  {name:34}"]
    for what, metric in (("AUC", roc_auc), ("AP", average_precision)):
        found = group_bootstrap(metric, y, score, group, n=N)
        said.append(f"{what} {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
        if first is not None:
            gap = paired_group_bootstrap(metric, y, score, first, group, n=N)
            said.append(f"{gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")
    print("; ".join(said), flush=True)


def contrasted(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994)."""
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    return np.stack([clahe.apply(np.ascontiguousarray(image)) for image in images])


def squashed(folder: Path, files: Sequence[str]) -> NDArray[np.uint8]:
    """Images stretched to squares instead of padded."""
    return np.stack([cv2.resize(read_grey(folder / f), (SIZE, SIZE), interpolation=cv2.INTER_AREA) for f in files])


def a_line(x: Numbers, y: NDArray[np.int64], group: NDArray[np.str_]) -> Callable[[Numbers], Numbers]:
    """Logistic regression whose penalty is chosen by average precision within the images at hand."""
    line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    inner = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    chosen = GridSearchCV(line, {"logisticregression__C": PENALTIES}, scoring="average_precision", cv=inner, n_jobs=2)
    chosen.fit(x, y, groups=group)
    return lambda other: np.asarray(chosen.decision_function(other), np.float64)


def weighted_line(*, class_weights: bool = False, repeat: bool = False, gamma: float = 0.0) -> Fit:
    """Logistic regression with one remedy against rare fractures; the focal loss is Lin et al. 2017."""

    def fit(x: Numbers, y: NDArray[np.int64], _group: NDArray[np.str_]) -> Callable[[Numbers], Numbers]:
        scale = StandardScaler().fit(x)
        more = np.arange(len(y))
        if repeat:
            rare = np.flatnonzero(y == 1)
            more = np.concatenate([more, np.random.default_rng(0).choice(rare, (y == 0).sum() - len(rare))])
        inputs = torch.from_numpy(scale.transform(x)[more])
        labels = torch.from_numpy(y[more]).double()
        share = labels.mean()
        weight = torch.where(labels == 1, 0.5 / share, 0.5 / (1 - share)) if class_weights else torch.ones_like(labels)
        line = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([line], max_iter=500, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            each = F.binary_cross_entropy_with_logits(inputs @ line[1:] + line[0], labels, reduction="none")
            total = (weight * (1 - torch.exp(-each)) ** gamma * each).sum() + line[1:].square().sum() / (2 * 0.001)
            total.backward()
            return total

        optimizer.step(loss)
        found = line.detach().numpy()
        return lambda other: np.asarray(scale.transform(other) @ found[1:] + found[0], np.float64)

    return fit


def out_of_fold(
    fit: Fit, x: Numbers, frame: pd.DataFrame, folds: int, mirror: Numbers | None = None
) -> tuple[Numbers, NDArray[np.int64]]:
    """Each image's logit from a line that never saw its group, and its fold.

    With `mirror`, the mirrored images are learnt from, too, and an image's logit is the mean of both looks.
    """
    y, group = np.array(frame["label"], np.int64), np.array(frame["group"], str)
    found, fold = np.zeros(len(y)), np.zeros(len(y), np.int64)
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for k, (inside, outside) in enumerate(cut.split(x, y, group)):
        fold[outside] = k
        if mirror is None:
            found[outside] = fit(x[inside], y[inside], group[inside])(x[outside])
        else:
            twice = np.concatenate([inside, inside])
            line = fit(np.concatenate([x[inside], mirror[inside]]), y[twice], group[twice])
            found[outside] = (line(x[outside]) + line(mirror[outside])) / 2
    return found, fold


def frozen_of(part: Split) -> Features:
    return frozen_features(with_imagenet_weights(LocalizingEfficientNet()), part.images, progress=True)


def metadata_out_of_fold(frame: pd.DataFrame, folds: int) -> Numbers:
    found = np.zeros(len(frame))
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for inside, outside in cut.split(frame, frame["label"], frame["group"]):
        found[outside] = metadata_scores(frame.iloc[inside], frame.iloc[outside])
    return found


def the_picture(folder: Path, frame: pd.DataFrame, parts: dict[str, Split], looks: list[Numbers], folds: int) -> None:
    files, group, y = list(frame["file"]), list(frame["group"]), list(frame["label"])
    print(f"the picture: a line on frozen features, {folds} folds, {len(y)} images, {sum(y)} fractured")
    plain = np.concatenate([part.images for part in parts.values()])
    known = metadata_out_of_fold(frame, folds)
    row("metadata only", y, known, group, None)
    first = out_of_fold(a_line, looks[0], frame, folds)[0]
    row(f"{SIZE} pixels, padded", y, first, group, known)
    both = out_of_fold(a_line, looks[0], frame, folds, mirror=looks[1])[0]
    row("and mirrored, the mean of both", y, both, group, first)
    others: dict[str, Callable[[], NDArray[np.uint8]]] = {
        "squashed": lambda: squashed(folder, files),
        "CLAHE": lambda: contrasted(plain),
        "224 pixels": lambda: load_images(folder, files, size=224),
        "320 pixels": lambda: load_images(folder, files, size=320),
        "512 pixels": lambda: load_images(folder, files, size=512),
    }
    for name, pictures in others.items():
        x = whole_features(pictures(), progress=True).astype(np.float64)
        row(name, y, out_of_fold(a_line, x, frame, folds)[0], group, first)


def the_balance(x: Numbers, frame: pd.DataFrame, folds: int) -> None:
    y, group = np.array(frame["label"], np.int64), list(frame["group"])
    print("the balance: the same line with one penalty; a moved threshold is for sensitivity 0.90 on the other folds")
    first = None
    remedies = {
        "nothing": weighted_line(),
        "class weights": weighted_line(class_weights=True),
        "oversampling": weighted_line(repeat=True),
        "focal loss, gamma 2": weighted_line(gamma=2.0),
    }
    for name, fit in remedies.items():
        logit, fold = out_of_fold(fit, x, frame, folds)
        row(name, y, logit, group, first)
        first = logit if first is None else first
        score, predicted = expit(logit), np.zeros(len(y))
        for k in range(folds):
            limit = threshold_for_sensitivity(y[fold != k], score[fold != k], 0.90)
            predicted[fold == k] = score[fold == k] >= limit
        for said, calls in (("at 0.5", (score >= 0.5).astype(float)), ("moved", predicted)):
            at = confusion_at(y, calls, 0.5)
            print(f"    {said:8} sensitivity {at.sensitivity:.2f}, specificity {at.specificity:.2f}")
        print(f"    calibration error as it comes {calibration_error(y, score):.3f}", flush=True)


def the_heads(parts: dict[str, Split], seeds: int) -> None:
    config = FineTuneConfig(size=SIZE)
    images = {name: Images(part.images, part.labels) for name, part in parts.items()}
    masks = {name: np.asarray(part.masks) for name, part in parts.items()}
    ready = {name: frozen_of(part) for name, part in parts.items()}
    variants = {
        "the recipe": config,
        **{f"seed {seed}": replace(config, seed=seed) for seed in range(1, seeds)},
        "labels only: no outlines": replace(config, mask_loss_weight=0.0, peak_loss_weight=0.0),
        "no loss of the strongest place": replace(config, peak_loss_weight=0.0),
        "no average of the weights": replace(config, ema_decay=0.0),
        "no dropout": replace(config, dropout=0.0),
    }
    logits: dict[str, dict[str, Numbers]] = {}
    print(f"the heads: {config.epochs} epochs on frozen features, one split")
    for name, changed in variants.items():
        kept = {split: ready[split] for split in ("train", "val")}
        classifier, history = fit_localizer(
            images["train"], images["val"], masks["train"], masks["val"], changed, kept=kept, progress=False
        )
        assert isinstance(classifier.model, LocalizingEfficientNet)
        found = {s: judged(classifier.model, images[s], "heads", kept=ready[s])[0].double() for s in ("val", "test")}
        logits[name] = {split: (x[:, 1] - x[:, 0]).numpy() for split, x in found.items()}
        shown(name, logits, parts)
        print(f"    peak right on validation {history['val_peak'].iloc[-1]:.2f}", flush=True)
    members = ["the recipe", *(name for name in logits if name.startswith("seed "))]
    logits[f"the mean of {len(members)} seeds"] = {
        split: np.mean([logits[name][split] for name in members], axis=0) for split in ("val", "test")
    }
    shown(list(logits)[-1], logits, parts)


def shown(name: str, logits: dict[str, dict[str, Numbers]], parts: dict[str, Split]) -> None:
    for split in ("val", "test"):
        y, group = list(parts[split].labels), list(parts[split].frame["group"])
        first = None if name == "the recipe" else logits["the recipe"][split]
        row(f"{name}, {split}", y, logits[name][split], group, first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", choices=("lines", "heads"), help="lines: picture and balance")
    args = parser.parse_args()
    folder = args.folder.resolve()
    os.environ["FRACTURE_DATA"] = str(folder)
    parts = {split: open_split(split, size=SIZE) for split in ("train", "val", "test")}
    frame = pd.concat([part.frame for part in parts.values()], ignore_index=True)
    if args.only in ("", "lines"):
        kept = [frozen_of(part).whole for part in parts.values()]
        looks = [np.concatenate([pair[m] for pair in kept]).astype(np.float64) for m in (0, 1)]  # plain, mirrored
        the_balance(looks[0], frame, args.folds)
        the_picture(folder, frame, parts, looks, args.folds)
    if args.only in ("", "heads"):
        the_heads(parts, args.seeds)


if __name__ == "__main__":
    main()
