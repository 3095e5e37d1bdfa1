r"""What a change of the first look is worth, on some folds: `python benchmarks/first_look.py DIR --out RUN [change]`.

    python benchmarks/first_look.py DIR --out runs/half --share 0.5
    python benchmarks/first_look.py DIR --out runs/no-peaks --peak-loss-weight 0
    fracture train data/demo --model localizing_efficientnet --unfreeze most --epochs 7 --learning-rate 0.0015 \
        --peak-loss-weight 0 --out runs/simulated
    python benchmarks/first_look.py DIR --out runs/pre-taught --start runs/simulated/model.pt \
        --unchanged runs/from-imagenet
    python benchmarks/first_look.py DIR --out runs/lite2 --model timm:tf_efficientnet_lite2 --weights lite2.pth \
        --unchanged runs/from-imagenet
    python benchmarks/first_look.py DIR --out runs/another-order --seed 1 --unchanged runs/from-imagenet

The first network of the shipped recipe, as it is trained from ImageNet's features (`make train-fracatlas`, which leaves
it in runs/from-imagenet), is trained with one change: on a share of each fold's training groups, with another weight of
the loss of the map's peak, from a network that has learnt something else, on other features, or with the same heads to
begin with, but with another order of images and other random draws (`--seed`). Each image is scored by its fold's
network, and compared with what the unchanged one made of it, or the one of another table (`--against
docs/out_of_fold/fracatlas-without-peak-loss.csv`): AUC and average precision, of the changed network in its place, and
of both together, whose logits are averaged. With `--unchanged runs/from-imagenet`, the network whose weights are the
mean of both is compared as well, and so are the peaks of the first look's maps. Intervals are bootstraps over groups.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, logit

from fracturelib.data.dataset import fingerprint, load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.masks import outlines
from fracturelib.explain.localization import pointing_game, tolerance_at
from fracturelib.explain.overlay import upsample
from fracturelib.metrics.bootstrap import draws, group_codes, paired_group_bootstrap
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.models.backbones import LocalizingBackbone, load_backbone_weights, read_backbone_weights
from fracturelib.models.classifier import Classifier, load_classifier
from fracturelib.models.localizer import LocalizingNetwork
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.finetune import begun_from, fit_localizer
from fracturelib.training.folds import splits_of_folds
from fracturelib.training.train import Images, calibrated_by

N, FOLDS, SIZE = 1000, 5, 384
UNCHANGED = Path(__file__).parents[1] / "docs" / "out_of_fold" / "fracatlas-closer.csv"


def some_groups(train: pd.DataFrame, share: float) -> pd.DataFrame:
    """The images of a share of the groups, drawn once: of those with a fracture, and of the others."""
    rng, chosen = np.random.default_rng(0), []
    fractured = train.groupby("group")["label"].max()
    for label in (0, 1):
        own = rng.permutation(sorted(fractured[fractured == label].index))
        chosen += list(own[: round(share * len(own))])
    return train[train["group"].isin(chosen)]


def trained(folder: Path, frame: pd.DataFrame, out: Path, args: argparse.Namespace) -> Classifier:
    """The network of a fold; one that is finished in `out` is taken up from there."""
    config = FineTuneConfig(
        unfreeze="most", size=SIZE, epochs=7, learning_rate=0.0015, features_rate=0.0003,
        peak_loss_weight=args.peak_loss_weight, seed=args.seed,
    )  # fmt: skip
    images = {name: labelled(folder, frame[frame["split"] == name]) for name in ("train", "val")}
    start: LocalizingNetwork | None = None
    if args.model is not None:
        torch.manual_seed(0)  # of the heads
        start = LocalizingBackbone(args.model)
        print(load_backbone_weights(start, read_backbone_weights(args.weights), args.weights), flush=True)
    elif args.start is not None:
        start = load_classifier(args.start).model  # type: ignore[assignment]
    elif args.seed:
        start = begun_from(replace(config, seed=0), None)
    out.mkdir(parents=True, exist_ok=True)
    classifier, _ = fit_localizer(
        images["train"], images["val"], *outlines(folder, frame, SIZE), config, model=start, out=out,
        fingerprint=fingerprint(frame),
    )  # fmt: skip
    return classifier


def labelled(folder: Path, frame: pd.DataFrame) -> Images:
    return Images(load_images(folder, list(frame["file"]), size=SIZE), np.array(frame["label"], np.int64))


def averaged(changed: Classifier, unchanged: Classifier, val: Images) -> Classifier:
    """The network with the mean of both first looks' weights, calibrated on the fold's validation images."""
    model, other = copy.deepcopy(changed.model), unchanged.model.state_dict()
    model.load_state_dict({name: (weight + other[name]) / 2 for name, weight in model.state_dict().items()})
    classifier = replace(changed, model=model)
    return calibrated_by(classifier, classifier.logits(val.images), val.labels)


def near(maps: list[np.ndarray], masks: np.ndarray) -> np.ndarray:
    """Whether the peak of each image's map lies in the fracture, and near it: (n, 2) bool."""
    heats = [upsample(m, (SIZE, SIZE)) for m in maps]
    both = [
        [pointing_game(h, m), pointing_game(h, m, tolerance=tolerance_at(SIZE))]
        for h, m in zip(heats, masks, strict=True)
    ]
    return np.array(both, bool).reshape(-1, 2)


def compared(held: pd.DataFrame) -> None:
    """Figures of the changed network, and of both, and by how much they are above those of the unchanged one."""
    groups = list(held["group"])
    together = expit((logit(held["score"]) + logit(held["unchanged"])) / 2)
    named = {"": held["score"], "both together, ": together}
    if "averaged" in held:
        named["their weights averaged, "] = held["averaged"]
    for name, scores in named.items():
        for what, metric in (("AUC", roc_auc), ("average precision", average_precision)):
            gap = paired_group_bootstrap(metric, held["label"], scores, held["unchanged"], groups, n=N)
            value = metric(held["label"], scores)
            print(f"  {name}{what} {value:.3f}: {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")


def compared_peaks(peaks: pd.DataFrame) -> None:
    """How often each network's map peaks right, on the same outlined images."""
    drawn = list(draws(group_codes(peaks["group"], len(peaks)), N, 0))
    for name in ("changed", "both"):
        for what in ("inside", "near"):
            gap = peaks[f"{what}, {name}"].astype(float) - peaks[f"{what}, unchanged"]
            means = [np.average(gap, weights=w) for w in drawn]
            low, high = np.quantile(means, [0.025, 0.975])
            value = peaks[f"{what}, {name}"].mean()
            print(f"  {name}: peak {what} {value:.3f} of {len(peaks)}: {gap.mean():+.3f} ({low:+.3f} to {high:+.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--peak-loss-weight", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--against", type=Path, default=UNCHANGED)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--model", metavar="timm:NAME")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--unchanged", type=Path, metavar="RUN")
    args = parser.parse_args()
    frame = load_manifest(args.folder).assign(split="train").reset_index(drop=True)
    reference = pd.read_csv(args.against).set_index("file")["first_look"]
    held, peaks = [], []
    for fold in args.folds:
        whole = frame.assign(split=splits_of_folds(args.folder, frame, FOLDS, seed=0)[fold - 1])
        test = whole[whole["split"] == "test"]
        train = some_groups(whole[whole["split"] == "train"], args.share)
        print(f"fold {fold}: {len(train)} images to learn from, {train['label'].sum()} fractured", flush=True)
        learnt = pd.concat([train, whole[whole["split"] == "val"]])
        classifier = trained(args.folder, learnt, args.out / f"fold-{fold}", args)
        images = load_images(args.folder, list(test["file"]), size=SIZE)
        held.append(test.assign(score=classifier.scores(images), unchanged=test["file"].map(reference)))
        if args.unchanged is not None:
            masks = outlines(args.folder, test.assign(split="train"), SIZE)[0]
            known = masks.any(axis=(1, 2))
            rows = test.loc[known, ["group"]]
            before = load_classifier(args.unchanged / f"fold-{fold}" / "model.pt")
            if args.model is None:
                mean = averaged(classifier, before, labelled(args.folder, whole[whole["split"] == "val"]))
                held[-1]["averaged"] = mean.scores(images)
            changed, unchanged = (list(network.localize(images[known])) for network in (classifier, before))
            both = [(a + b) / 2 for a, b in zip(changed, unchanged, strict=True)]
            for name, maps in (("changed", changed), ("unchanged", unchanged), ("both", both)):
                inside, beside = near(maps, masks[known]).T
                rows = rows.assign(**{f"inside, {name}": inside, f"near, {name}": beside})
            peaks.append(rows)
    compared(pd.concat(held))
    if peaks:
        compared_peaks(pd.concat(peaks))


if __name__ == "__main__":
    main()
