"""What networks make of images of patients whom they never met: `python benchmarks/out_of_fold.py DIR --run NAME=RUN`.

Each RUN is what `fracture train DIR --folds N` leaves, or its predictions.csv alone; several are compared on the same
folds, the first one with each other. AUC and average precision over all images of train and val; sensitivity and
specificity at the thresholds that each fold's own training chose, and at thresholds that the scores of the other folds
choose for sensitivity 0.90, one for all regions and then one by region; the calibration error; the same of each region
with enough fractures; the paired differences to the first run and to metadata alone, out of the same folds. Beside each
run but the first, the mean of its logits and the first run's. Of networks with a closer look also the first look alone,
and what the closer one adds. Of networks that localize, how often the peak of each map lies in the fracture or near it,
each image judged by its fold's network, beside Grad-CAM, the centre and chance, and how much more often than that of
the first run that has maps. All intervals are bootstraps over groups.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from real_images import N, print_peaks, shown

from fracturelib.data.dataset import load_manifest
from fracturelib.data.decode import read_grey
from fracturelib.data.predictions import read_predictions
from fracturelib.explain.localization import centre_map
from fracturelib.explain.overlay import upsample
from fracturelib.explain.sanity_checks import image_maps
from fracturelib.metrics.bootstrap import paired_group_bootstrap, rate_at
from fracturelib.metrics.calibration import calibration_error
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.models.classifier import load_classifier
from fracturelib.models.regions import shifts_of
from fracturelib.training.baselines import metadata_scores
from fracturelib.tutorial import open_split

FEWEST = 40  # fractures of a region that is judged by itself


def rates(frame: pd.DataFrame) -> str:
    return ", ".join(f"{name} {shown(rate_at(name, 0.5), frame, 'said')}" for name in ("sensitivity", "specificity"))


def judged(name: str, held: pd.DataFrame) -> None:
    print(f"{name}: {len(held)} images, {held['label'].sum()} fractured, {held['group'].nunique()} groups")
    print(f"  AUC {shown(roc_auc, held)}, AP {shown(average_precision, held)}")
    print(f"  {rates(held)}; calibration error {calibration_error(held['label'], held['score']):.3f}")
    others = said_by_others(held)
    print(f"  at one threshold, of the other folds: {rates(held.assign(said=others))}")
    by_region = said_by_region(held) if "region" in held else None
    if by_region is not None:
        print(f"  at thresholds by region, of the other folds: {rates(held.assign(said=by_region))}")
    for fold, part in held.groupby("fold"):
        print(f"  fold {fold:.0f}: AUC {roc_auc(part['label'], part['score']):.3f}")
    if "region" in held:
        for region, part in held.groupby("region"):
            if part["label"].sum() >= FEWEST:
                print(f"  {region} ({part['label'].sum()} of {len(part)}): AUC {shown(roc_auc, part)}, {rates(part)}")
                print(f"    at that of the other folds: {rates(part.assign(said=others[part.index]))}")
                print(f"    at those by region: {rates(part.assign(said=by_region[part.index]))}")


def said_by_others(part: pd.DataFrame) -> np.ndarray:
    """1 where an image is positive at the threshold that the other folds' scores choose for sensitivity 0.90."""
    said = np.zeros(len(part))
    for fold in part["fold"].unique():
        own = (part["fold"] == fold).to_numpy()
        others = part[~own]
        said[own] = part["score"][own] >= threshold_for_sensitivity(others["label"], others["score"], 0.90)
    return said


def said_by_region(held: pd.DataFrame) -> np.ndarray:
    """The same at thresholds by region, as `fracture train --by-region` chooses them, where regions are known."""
    said, evidence = np.zeros(len(held)), logits(held["score"])
    for fold in held["fold"].unique():
        own = (held["fold"] == fold).to_numpy()
        others = held[~own]
        shifts = shifts_of(evidence[~own].to_numpy(), others["label"].to_numpy(), list(others["region"]))
        moved = evidence - held["region"].map(shifts).fillna(0)
        said[own] = moved[own] >= threshold_for_sensitivity(others["label"], moved[~own], 0.90)
    return said


def compared(held: pd.DataFrame, rivals: dict[str, pd.Series]) -> None:
    """Paired differences to rivals, whose scores are by file."""
    for rival, scores in rivals.items():
        other = held["file"].map(scores)
        for what, metric in (("AUC", roc_auc), ("AP", average_precision)):
            gap = paired_group_bootstrap(metric, held["label"], held["score"], other, list(held["group"]), n=N)
            print(f"  {what} above {rival}: {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")


def logits(scores: pd.Series) -> pd.Series:
    clipped = scores.clip(1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def metadata_out_of_fold(held: pd.DataFrame, frame: pd.DataFrame) -> pd.Series:
    """Scores by file of the rival that sees no image, each by one that never met the group."""
    known = held[["file", "fold"]].merge(frame, on="file")
    parts = []
    for fold in sorted(known["fold"].unique()):
        apart = known[known["fold"] == fold]
        parts.append(pd.Series(metadata_scores(known[known["fold"] != fold], apart), index=list(apart["file"])))
    return pd.concat(parts)


def maps(name: str, folder: Path, run: Path, held: pd.DataFrame) -> pd.DataFrame | None:
    """Where the maps point, each of an image by its fold's network; of each outlined image whether it is right."""
    first = load_classifier(run / "fold-1" / "model.pt")
    if not first.localizes:
        return None
    found: dict[str, list[np.ndarray]] = {"localization map": [], "Grad-CAM, stage4": [], "centre": []}
    masks, groups, files = [], [], []
    parts = [open_split(split, size=first.size) for split in ("train", "val")]
    images = np.concatenate([part.images for part in parts])
    drawn = np.concatenate([np.asarray(part.masks) for part in parts])
    place = {file: i for i, file in enumerate(pd.concat([part.frame for part in parts])["file"])}
    for fold, part in held.groupby("fold"):
        classifier = load_classifier(run / f"fold-{fold:.0f}" / "model.pt")
        rows = np.array([place[file] for file in part["file"]])
        outlined = drawn[rows].any(axis=(1, 2))
        rows = rows[outlined]
        side = (classifier.size, classifier.size)
        stored = [read_grey(folder / file) for file in part["file"][outlined]]
        marked = classifier.with_closer_look().localize(images[rows], stored=stored)
        found["localization map"] += [upsample(m, side) for m in marked]
        if classifier.closer_look is not None:
            found.setdefault("its first look", [])
            found["its first look"] += [upsample(m, side) for m in classifier.localize(images[rows])]
        found["Grad-CAM, stage4"] += list(image_maps(classifier, images[rows], classifier.model.stage4))
        found["centre"] += [centre_map(classifier.size)] * len(rows)
        masks.append(drawn[rows])
        groups += list(part["group"][outlined])
        files += list(part["file"][outlined])
    kinds = {kind: np.stack(heats) for kind, heats in found.items()}
    judged = print_peaks(name, kinds, np.concatenate(masks), groups)["localization map"]
    return judged.images.assign(file=files, group=groups).set_index("file")


def compared_maps(peaks: pd.DataFrame, rival: str, others: pd.DataFrame) -> None:
    """How much more often the peaks are right than those of a rival, on the same images."""
    for what, metric in (("inside", "pointing"), ("near", "pointing, near")):
        hits, theirs = peaks[metric].astype(float), others.loc[peaks.index, metric].astype(float)
        found = rate_at("sensitivity", 0.5)  # the proportion of hits, as every image has a fracture
        gap = paired_group_bootstrap(found, np.ones(len(peaks)), hits, theirs, list(peaks["group"]), n=N)
        print(f"  peak {what} above {rival}: {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", action="append", required=True, metavar="NAME=RUN")
    args = parser.parse_args()
    os.environ["FRACTURE_DATA"] = str(args.folder.resolve())
    rivals: dict[str, pd.Series] = {}
    folds, pointed = None, None
    for name, _, text in (text.partition("=") for text in args.run):
        run = Path(text)
        table = read_predictions(run if run.is_file() else run / "predictions.csv")
        held = table[table["fold"].notna()].reset_index(drop=True)
        held["said"] = (held["decision"] == "Fractured").astype(float)
        if folds is None:
            folds = held.set_index("file")["fold"]
            rivals["metadata"] = metadata_out_of_fold(held, load_manifest(args.folder))
        elif not folds.equals(held.set_index("file")["fold"]):
            raise SystemExit(f"{run}: has other images or folds than the first run; expected the same")
        judged(name, held)
        compared(held, rivals)
        if "first_look" in held:
            alone = held.assign(score=held["first_look"])
            print(f"{name}, first look alone: AUC {shown(roc_auc, alone)}, AP {shown(average_precision, alone)}")
            compared(held, {"its first look": held.set_index("file")["first_look"]})
        if "the first" in rivals:
            mean = (logits(held["score"]) + logits(held["file"].map(rivals["the first"]))) / 2
            both = held.assign(score=1 / (1 + np.exp(-mean)))
            print(f"{name}, mean of its logits and the first's: AUC {shown(roc_auc, both)}")
            compared(both, {"the first": rivals["the first"]})
        else:
            rivals["the first"] = held.set_index("file")["score"]
        if run.is_dir() and (peaks := maps(name, args.folder, run, held)) is not None:
            if pointed is not None:
                compared_maps(peaks, *pointed)
            pointed = pointed or (name, peaks)


if __name__ == "__main__":
    main()
