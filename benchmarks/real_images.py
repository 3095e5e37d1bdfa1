"""What networks make of real images: `python benchmarks/real_images.py DIR --run NAME=RUN [--run ...]`.

For each run of `fracture train` on DIR (its predictions.csv and model.pt): AUC and average precision on validation and
test, sensitivity and specificity on test at the thresholds that validation froze for sensitivity 0.90 and for two
specificities, calibration error, and the paired differences on test to metadata alone and to the first run. Beside
them a rival that knows the metadata only. Of networks that were trained to localize, how often the peak of each map
lies in the fracture, or near it, on validation and on test. All intervals are bootstraps over groups.
The same out of fold: `benchmarks/out_of_fold.py`.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from fracturelib.data.dataset import load_manifest
from fracturelib.explain.localization import Judged, centre_map, chance_images, judge_images, judged_table, tolerance_at
from fracturelib.explain.overlay import upsample
from fracturelib.explain.sanity_checks import image_maps
from fracturelib.metrics.bootstrap import group_bootstrap, paired_group_bootstrap, rate_at
from fracturelib.metrics.calibration import calibration_error
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.metrics.evaluate import subgroups_at
from fracturelib.metrics.operating_point import choose_threshold, threshold_for_sensitivity
from fracturelib.models.classifier import Classifier, load_classifier, looked
from fracturelib.models.localizer import LocalizingNetwork
from fracturelib.training.baselines import metadata_scores
from fracturelib.tutorial import Split, open_split

N = 1000
SPECIFICITIES = (0.708, 0.75)  # of the best published grouped result known, and the one that was aimed at


def shown(metric: object, frame: pd.DataFrame, column: str = "score") -> str:
    found = group_bootstrap(metric, frame["label"], frame[column], list(frame["group"]), n=N)  # type: ignore[arg-type]
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def judged_scores(name: str, scores: pd.DataFrame, rivals: dict[str, pd.DataFrame]) -> None:
    """One model's lines: `scores`, as those of its rivals, has file, split, label, group and score of val and test."""
    val, test = (scores[scores["split"] == split].reset_index(drop=True) for split in ("val", "test"))
    print(f"{name}")
    for split, frame in (("val", val), ("test", test)):
        print(f"  {split:5} AUC {shown(roc_auc, frame)}, AP {shown(average_precision, frame)}")
    known = val["label"], val["score"]
    frozen = {"sensitivity 0.90": threshold_for_sensitivity(*known, 0.90)}
    for least in SPECIFICITIES:
        frozen[f"specificity {least}"] = choose_threshold(*known, f"specificity={least}").threshold
    for rule, threshold in frozen.items():
        rates = [shown(rate_at(rate, threshold), test) for rate in ("sensitivity", "specificity")]
        print(f"  test  at {threshold:.3f}, val's for {rule}: sensitivity {rates[0]}, specificity {rates[1]}")
    print(f"  test  calibration error {calibration_error(test['label'], test['score']):.3f}")
    for rival, its in rivals.items():
        other = test[["file"]].merge(its, on="file")["score"]
        for what, metric in (("AUC", roc_auc), ("AP", average_precision)):
            gap = paired_group_bootstrap(metric, test["label"], test["score"], other, list(test["group"]), n=N)
            print(f"  test  {what} above {rival}: {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")


def one_look(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The map that the score is made of, (n, h, w) float32 in 0..1: of each image once, at the size of its score."""
    if not isinstance(classifier.model, LocalizingNetwork):
        raise SystemExit("maps of one look are those of networks that were trained to localize")
    return expit(looked(classifier.model, images, mean=classifier.mean, std=classifier.std)[1])


def maps(name: str, classifier: Classifier, radiographs: Split) -> None:
    """Where the maps of a taught network point, beside chance and the centre."""
    assert radiographs.masks is not None
    known = np.flatnonzero(radiographs.masks.any(axis=(1, 2)))
    images, masks = radiographs.images[known], np.asarray(radiographs.masks[known])
    groups = list(radiographs.frame["group"].iloc[known])
    size = classifier.size
    kinds = {
        "localization map": np.stack([upsample(m, (size, size)) for m in classifier.localize(images)]),
        "the same, one look": np.stack([upsample(m, (size, size)) for m in one_look(classifier, images)]),
        "Grad-CAM, stage4": image_maps(classifier, images, classifier.model.stage4),
        "LayerCAM, stage3": image_maps(classifier, images, classifier.model.stage3, method="LayerCAM"),
        "LayerCAM, stage2": image_maps(classifier, images, classifier.model.stage2, method="LayerCAM"),
        "centre": np.stack([centre_map(size)] * len(images)),
    }
    print_peaks(name, kinds, masks, groups)


def print_peaks(name: str, kinds: dict[str, np.ndarray], masks: np.ndarray, groups: list[str]) -> dict[str, Judged]:
    """How often the peaks of maps of each kind, (n, s, s), lie in the fracture and near it, and those of chance.

    Returns what was found of each image, by kind.
    """
    size = masks.shape[1]
    near = tolerance_at(size)
    judged = {kind: judge_images(heats, masks, tolerance=near, cut=0.5) for kind, heats in kinds.items()}
    judged["chance"] = chance_images(masks, tolerance=near)
    table = judged_table(judged, groups, n=500).set_index(["who", "metric"])
    print(f"{name}: {len(masks)} outlined images, near is {near} pixels of {size}")
    for kind in judged:
        inside, close = table.loc[(kind, "pointing")], table.loc[(kind, "pointing, near")]
        print(
            f"  {kind:18} inside {inside['value']:.2f} ({inside['low']:.2f} to {inside['high']:.2f}), "
            f"near {close['value']:.2f} ({close['low']:.2f} to {close['high']:.2f})"
        )
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", action="append", default=[], metavar="NAME=RUN")
    args = parser.parse_args()
    os.environ["FRACTURE_DATA"] = str(args.folder.resolve())
    runs = {name: Path(run) for name, _, run in (text.partition("=") for text in args.run)}
    frame = load_manifest(args.folder)
    train = frame[frame["split"] == "train"]
    rest = frame[frame["split"] != "train"].reset_index(drop=True)
    rivals = {"metadata": rest.assign(score=metadata_scores(train, rest))}
    judged_scores("metadata only", rivals["metadata"], {})
    for name, run in runs.items():
        scores = pd.read_csv(run / "predictions.csv")
        judged_scores(name, scores, rivals)
        rivals.setdefault("the first", scores)
    for name, run in runs.items():
        classifier = load_classifier(run / "model.pt")
        if classifier.localizes:
            scores = pd.read_csv(run / "predictions.csv").query("split == 'test'").reset_index(drop=True)
            known = scores.drop(columns=["region", "view"], errors="ignore")
            scores = known.merge(frame[["file", "region", "view"]], on="file")
            limit = None if "threshold" in scores else classifier.with_closer_look().threshold  # None: of each image
            for column in ("region", "view"):
                print(f"{name}, test\n{subgroups_at(scores, column, limit, n=500, seed=0).round(2).to_string()}")
            for split in ("val", "test"):
                maps(f"{name}, {split}", classifier, open_split(split, size=classifier.size))


if __name__ == "__main__":
    main()
