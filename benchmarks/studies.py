"""What a network of studies is worth on simulated knees, and what fools it.

    python benchmarks/studies.py [--studies 600] [--epochs N] [--draws 20] [--only leak|places] [--keep FOLDER]

Two sets of simulated patients: effusion says nothing of the tear, or is tied to it. Networks of four poolings learn
from the first, one more from the second, of half the size. All are judged on the test patients of the first, and on
these once more with the effusion reversed: just the whole knees have one. Intervals are by patient. Printed are

1. AUC on complete tears against whole ligaments, degenerated ones among them, and on partial tears apart; the poolings
   against the middle slice, paired; what effusion alone gives; and each network with the effusion reversed;
2. the leak: slices split by slice and by study, with true labels and with random ones;
3. whether the deciding slice shows the tear, and whether the map's peak lies in it, beside the middle, chance and the
   untrained network.

The figures are of a phantom, and say nothing about patients.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from fracturelib.data.studies import load_studies, load_truth
from fracturelib.explain.slices import SliceExplainer
from fracturelib.metrics import group_bootstrap, paired_group_bootstrap, roc_auc
from fracturelib.metrics.bootstrap import rate_at
from fracturelib.models.classifier import Classifier
from fracturelib.models.poolings import POOLINGS
from fracturelib.models.registry import build_model
from fracturelib.simulate.knee_plan import plan_knees
from fracturelib.simulate.knee_set import simulate_knees
from fracturelib.training.config import StudyConfig
from fracturelib.training.leaks import leak_by_slice
from fracturelib.training.train import Images, fit

HIT = rate_at("sensitivity", 0.5)  # of values 0 and 1 of torn studies: their mean


def images_of(folder: Path, split: str) -> tuple[Images, pd.DataFrame]:
    volumes, table = load_studies(folder, split)
    return Images(volumes, np.array(table["label"], np.int64)), table


def with_effusion_reversed(table: pd.DataFrame, *, studies: int, seed: int) -> np.ndarray:
    """The same test patients, positions and tears, but effusion in the whole knees and none in the torn."""
    plan = plan_knees(studies, seed=seed, shortcut="effusion", test="reversed")
    knees = {knee.group: knee for knee in plan if knee.split == "test"}
    assert [knees[group].tear for group in table["group"]] == list(table["tear"])
    return np.stack([knees[group].make().volume for group in tqdm(table["group"], unit="study", disable=None)])


def auc(table: pd.DataFrame, score: np.ndarray, tear: str) -> str:
    """Of one kind of tear against whole ligaments."""
    kept = ((table["label"] == 0) | (table["tear"] == tear)).to_numpy()
    found = group_bootstrap(roc_auc, table["label"][kept], score[kept], table["group"][kept])
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def difference(table: pd.DataFrame, a: np.ndarray, b: np.ndarray, tear: str = "complete") -> str:
    kept = ((table["label"] == 0) | (table["tear"] == tear)).to_numpy()
    found = paired_group_bootstrap(roc_auc, table["label"][kept], a[kept], b[kept], table["group"][kept])
    return f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def trained(folder: Path, config: StudyConfig) -> Classifier:
    begin = time.process_time()
    train, val = (images_of(folder, split)[0] for split in ("train", "val"))
    classifier, history = fit(train, val, config, progress=False)
    kept = history["val_auc"].max()
    print(
        f"  {folder.name}, {config.pooling}: {len(train.labels)} studies, {len(history)} epochs, "
        f"{time.process_time() - begin:.0f} CPU-seconds; validation AUC {kept:.3f}", flush=True,
    )  # fmt: skip
    return classifier


def all_trained(folder: Path, config: StudyConfig) -> dict[str, Classifier]:
    return {pooling: trained(folder / "free", replace(config, pooling=pooling)) for pooling in POOLINGS}


def judge_scores(folder: Path, config: StudyConfig, studies: int) -> dict[str, Classifier]:
    test, table = images_of(folder / "free", "test")
    reversed_test = with_effusion_reversed(table, studies=studies, seed=config.seed)
    networks = all_trained(folder, config)
    tied = trained(folder / "tied", config)
    counts = table["tear"].value_counts()
    print(f"\n1. {len(table)} test studies of as many patients: {', '.join(f'{n} {k}' for k, n in counts.items())}")
    scores = {name: network.scores(test.images) for name, network in networks.items()}
    print("   effusion alone, by its depth: complete", auc(table, table["effusion_mm"].to_numpy(float), "complete"))
    for name, score in scores.items():
        print(f"   {name:9} complete {auc(table, score, 'complete')}, partial {auc(table, score, 'partial')}", end="")
        print("" if name == "middle" else f"; against the middle {difference(table, score, scores['middle'])}")
    print("   attention against mean", difference(table, scores["attention"], scores["mean"]), end="; ")
    print("against max", difference(table, scores["attention"], scores["max"]))
    for name, network in {"honest": networks[config.pooling], "tied": tied}.items():
        before, after = network.scores(test.images), network.scores(reversed_test)
        both = [auc(table, score, "complete") for score in (before, after)]
        print(f"   {name}: test {both[0]}, effusion reversed {both[1]}, change {difference(table, after, before)}")
    return networks


def judge_leak(folder: Path, draws: int) -> None:
    train, table = images_of(folder / "free", "train")
    clear = np.flatnonzero(table["tear"].isin(["none", "degenerated", "complete"]))
    chosen = np.sort(np.random.default_rng(0).permutation(clear)[:84])
    studies = Images(train.images[chosen], train.labels[chosen])
    print(f"\n2. {len(chosen)} studies, 8 slices of each; means of {draws} draws, and of the middle 95 % of them")
    for labels in ("true", "random"):
        found = leak_by_slice(studies, list(table["group"].iloc[chosen]), labels=labels, draws=draws)
        for split, part in found.groupby("split"):
            low, high = np.quantile(part["auc"], [0.025, 0.975])
            print(
                f"   {labels} labels, split by {split}: AUC {part['auc'].mean():.3f} ({low:.3f} to {high:.3f}), "
                f"accuracy {part['accuracy'].mean():.3f}", flush=True,
            )  # fmt: skip


def judge_places(folder: Path, networks: dict[str, Classifier], config: StudyConfig) -> None:
    test, table = images_of(folder / "free", "test")
    masks = load_truth(folder / "free", table, test.images.shape[1:])
    torn = np.flatnonzero(table["tear"] == "complete")
    group, ones = table["group"].iloc[torn], np.ones(len(torn), np.int64)
    print(f"\n3. {len(torn)} complete tears")
    for name, network in networks.items():
        options = replace(config, pooling=name).options
        untrained = replace(network, model=build_model("study_network", seed=config.seed, **options).eval())
        found, other = (SliceExplainer(n).judge(test.images[torn], masks[torn]) for n in (network, untrained))
        for what, words in (("slice", "the deciding slice shows the tear"), ("peak", "the peak lies in the tear")):
            own = group_bootstrap(HIT, ones, found[what], group)
            print(f"   {name:9} {words} in {own.value:.3f} ({own.low:.3f} to {own.high:.3f}); by chance", end=" ")
            print(f"{found[f'{what} by chance'].mean():.3f}", end="")
            for rival, chosen in {"middle": found[f"{what} of the middle"], "untrained": other[what]}.items():
                less = paired_group_bootstrap(HIT, ones, found[what], chosen, group)
                apart = f"{less.difference:+.3f} ({less.low:+.3f} to {less.high:+.3f})"
                print(f"; {rival} {chosen.mean():.3f}, {apart}", end="")
            print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=StudyConfig.epochs)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("leak", "places"), help="2 or 3 alone")
    parser.add_argument("--keep", type=Path, help="a folder for the sets, which are made where they are missing")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        simulate_knees(folder / "free", studies=args.studies, seed=args.seed, jobs=args.threads)
        others = {"studies": args.studies // 2, "seed": args.seed + 1}  # of other patients
        simulate_knees(folder / "tied", shortcut="effusion", jobs=args.threads, **others)
        config = StudyConfig(epochs=args.epochs, patience=args.epochs, seed=args.seed)
        if args.only == "leak":
            judge_leak(folder, args.draws)
        elif args.only == "places":
            judge_places(folder, all_trained(folder, config), config)
        else:
            networks = judge_scores(folder, config, args.studies)
            judge_leak(folder, args.draws)
            judge_places(folder, networks, config)


if __name__ == "__main__":
    main()
