"""Is pre-training on simulated images worth something on real ones?

    fracture data import PATH/TO/FracAtlas data/raw/fracatlas
    python benchmarks/sim_to_real.py data/raw/fracatlas [--simulated data/demo] [--seeds 3] [--epochs 6] [--before 20]

The same SmallCNN is trained on the real training images twice, from random weights and from weights pre-trained on
the simulated images, with the same seed, order and augmentation. Printed are the paired differences of the test
AUC (validation AUC where there is no test split), and a bootstrap interval that resamples patients and keeps the pairs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib.data.dataset import load_manifest
from fracturelib.data.images import load_images
from fracturelib.metrics.classification import roc_auc
from fracturelib.training.config import TrainConfig
from fracturelib.training.train import Images, fit


def images_of(folder: Path, frame: pd.DataFrame, split: str, size: int) -> Images:
    part = frame[frame["split"] == split]
    return Images(load_images(folder, list(part["file"]), size=size), np.array(part["label"], np.int64))


def interval(
    labels: np.ndarray, groups: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean paired difference, patients resampled."""
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    means = []
    for _ in range(500):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if len(np.unique(labels[rows])) == 2:
            means.append(np.mean([roc_auc(labels[rows], b[rows]) - roc_auc(labels[rows], a[rows]) for a, b in pairs]))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("--simulated", type=Path, default=Path("data/demo"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6, help="on the real images, either way")
    parser.add_argument("--before", type=int, default=TrainConfig.epochs, help="on the simulated images")
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()

    simulated, real = load_manifest(args.simulated), load_manifest(args.real)
    judged = "test" if (real["split"] == "test").any() else "val"
    train, val, test = (images_of(args.real, real, split, args.size) for split in ("train", "val", judged))
    sim_train, sim_val = (images_of(args.simulated, simulated, split, args.size) for split in ("train", "val"))
    groups = real.loc[real["split"] == judged, "group"].to_numpy()
    pairs = []
    for seed in range(args.seeds):
        config = TrainConfig(size=args.size, epochs=args.epochs, patience=args.epochs, seed=seed)
        before = replace(config, epochs=args.before, patience=args.before)
        pretrained, _ = fit(sim_train, sim_val, before, progress=False)
        scratch, _ = fit(train, val, config, progress=False)
        started, _ = fit(train, val, config, initial=pretrained.model.state_dict(), progress=False)
        a, b = scratch.scores(test.images), started.scores(test.images)
        none = roc_auc(test.labels, pretrained.scores(test.images))
        pairs.append((a, b))
        print(
            f"seed {seed}, {judged}: scratch {roc_auc(test.labels, a):.3f}, pre-trained {roc_auc(test.labels, b):.3f}, "
            f"simulated images only {none:.3f}",
            flush=True,
        )
    differences = [roc_auc(test.labels, b) - roc_auc(test.labels, a) for a, b in pairs]
    low, high = interval(test.labels, groups, pairs, np.random.default_rng(0))
    print(f"difference {np.mean(differences):+.3f} (95 % interval {low:+.3f} to {high:+.3f}; {len(groups)} images)")


if __name__ == "__main__":
    main()
