"""Do the intervals of AUC keep their promise? `python benchmarks/coverage.py [--sets 2000]`.

Patients are simulated whose images share a label and most of their score; the true AUC is known. Printed is how often
the 95 % intervals hold it: by groups, by images, and DeLong's.
"""

import argparse

import numpy as np
from scipy.stats import norm

from fracturelib.metrics.bootstrap import group_bootstrap
from fracturelib.metrics.classification import roc_auc
from fracturelib.metrics.intervals import delong_interval, wilson_interval


def simulated(
    rng: np.random.Generator, *, patients: int, prevalence: float, apart: float, shared: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and patients: one to six images each; `shared` of the variance of a score is the patient's."""
    images = rng.integers(1, 7, patients)
    group = np.repeat(np.arange(patients), images)
    label = (rng.random(patients) < prevalence).astype(int)[group]
    own, noise = rng.normal(size=patients)[group], rng.normal(size=len(group))
    return label, apart * label + np.sqrt(shared) * own + np.sqrt(1 - shared) * noise, group


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    apart, shared = 1.2, 0.7
    truth = float(norm.cdf(apart / np.sqrt(2)))
    rng = np.random.default_rng(args.seed)
    held = {"by groups": 0, "by images": 0, "DeLong": 0}
    for i in range(args.sets):
        y, score, group = simulated(rng, patients=args.patients, prevalence=0.35, apart=apart, shared=shared)
        options = {"n": args.resamples, "seed": i}
        found = [
            group_bootstrap(roc_auc, y, score, group, **options),
            group_bootstrap(roc_auc, y, score, **options),
            delong_interval(y, score),
        ]
        for name, interval in zip(held, found, strict=True):
            held[name] += interval.low <= truth <= interval.high
    print(
        f"{args.sets} sets of {args.patients} patients with 1 to 6 images, AUC {truth:.3f}; 95 % intervals hold it in"
    )
    for name, k in held.items():
        sure = wilson_interval(k, args.sets)
        print(f"  {name:<22} {100 * sure.value:.1f} %  ({100 * sure.low:.1f} to {100 * sure.high:.1f})")


if __name__ == "__main__":
    main()
