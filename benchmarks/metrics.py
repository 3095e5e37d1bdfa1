"""How fast the metrics are, as ratios against a peer in one run: `python benchmarks/metrics.py`.

Prints medians: the sweep of a million scores against scikit-learn's `roc_curve` alone; 2,000 group-bootstrap AUCs of
10,000 images against calling `roc_auc_score` on each sample; DeLong of growing sets, which must grow little faster than
them; one move of the linked view of notebook 03, from the slider's value to the last widget that follows.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from fracturelib.metrics.bootstrap import group_bootstrap
from fracturelib.metrics.classification import roc_auc, sweep
from fracturelib.metrics.intervals import delong_interval
from fracturelib.viz.threshold_explorer import ThresholdExplorer


def made(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and groups of about two images."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.2).astype(int)
    return y, 1 / (1 + np.exp(-(rng.normal(size=n) + y - 1))), rng.integers(0, n // 2, n)


def median(work: Callable[[], object], repeats: int) -> float:
    """Seconds."""
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def looped(y: np.ndarray, score: np.ndarray, group: np.ndarray, samples: int) -> list[float]:
    """The same bootstrap as most people write it."""
    members = [np.flatnonzero(group == g) for g in np.unique(group)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(samples):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        found.append(roc_auc_score(y[rows], score[rows]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats

    y, score, _ = made(1_000_000)
    ours, theirs = median(lambda: sweep(y, score), repeats), median(lambda: roc_curve(y, score), repeats)
    print(f"sweep of 1,000,000 scores: {1000 * ours:.0f} ms, {ours / theirs:.2f} of scikit-learn's roc_curve alone")

    y, score, group = made(10_000)
    ours = median(lambda: group_bootstrap(roc_auc, y, score, group, n=2000), 3)
    samples = 50
    # The loop alone, without drawing the samples, is what it is measured against first.
    alone = median(lambda: [roc_auc_score(y, score) for _ in range(samples)], 3) * 2000 / samples
    whole = median(lambda: looped(y, score, group, samples), 3) * 2000 / samples
    print(
        f"2,000 group-bootstrap AUCs of 10,000 images: {1000 * ours:.0f} ms, {alone / ours:.0f} times as fast as "
        f"2,000 calls of roc_auc_score, {whole / ours:.0f} times as fast as drawing samples for them too"
    )

    sizes = [25_000, 50_000, 100_000, 200_000]
    times = [median(lambda y=y, s=s: delong_interval(y, s), repeats) for y, s, _ in map(made, sizes)]  # type: ignore[misc]
    power = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    shown = ", ".join(f"{n:,}: {1000 * t:.0f} ms" for n, t in zip(sizes, times, strict=True))
    print(f"DeLong: {shown}; grows as n to the power {power:.2f} (pair by pair it would be 2)")

    y, score, _ = made(1000)
    images = np.random.default_rng(0).integers(0, 255, (1000, 224, 224), dtype=np.uint8)
    view = ThresholdExplorer(y, score, images=images)
    for slider in (view.threshold, view.prevalence):
        places = iter(np.tile([0.2, 0.3, 0.4, 0.5, 0.6], 20).tolist())
        move = median(lambda s=slider, p=places: setattr(s, "value", next(p)), 50)  # type: ignore[misc]
        print(f"the linked view of 1,000 images follows the {slider.description.lower()} in {1000 * move:.1f} ms")


if __name__ == "__main__":
    main()
