"""What two networks are worth together: `python benchmarks/ensembles.py --run NAME=RUN --run NAME=RUN [...]`.

For all pairs of runs of `fracture train` on the same images (their predictions.csv): AUC and average precision of the
mean of their logits, each divided by its spread, on validation and on test, and on both together the paired difference
to the first run alone, with intervals from bootstraps over groups. Single runs stand above the pairs.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from fracturelib.metrics.bootstrap import paired_group_bootstrap
from fracturelib.metrics.classification import average_precision, roc_auc

METRICS = {"AUC": roc_auc, "AP": average_precision}


def logits_of(scores: pd.DataFrame) -> NDArray[np.float64]:
    """The logits of calibrated scores, divided by their standard deviation."""
    found: NDArray[np.float64] = logit(np.clip(scores["score"].to_numpy(np.float64), 1e-6, 1 - 1e-6))
    return found / found.std()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--resamples", type=int, default=500)
    args = parser.parse_args()
    runs = {name: Path(run) for name, _, run in (text.partition("=") for text in args.run)}
    if len(runs) < 2:
        raise SystemExit(f"{len(runs)} runs; expected two or more: --run NAME=RUN --run NAME=RUN")
    tables = {name: pd.read_csv(run / "predictions.csv").sort_values("file") for name, run in runs.items()}
    first, *_ = frames = [table.reset_index(drop=True) for table in tables.values()]
    for name, frame in zip(tables, frames, strict=True):
        if list(frame["file"]) != list(first["file"]):
            raise SystemExit(f"{name}: has scores of other images than {next(iter(runs))}")
    logits = {name: logits_of(frame) for name, frame in zip(tables, frames, strict=True)}
    y, split, group = first["label"].to_numpy(), first["split"].to_numpy(), list(first["group"].astype(str))
    for names in [*((name,) for name in runs), *combinations(runs, 2)]:
        score = np.mean([logits[name] for name in names], axis=0)
        parts = []
        for part in ("val", "test"):
            found = [f"{what} {m(y[split == part], score[split == part]):.3f}" for what, m in METRICS.items()]
            parts.append(f"{part} {', '.join(found)}")
        for what, metric in METRICS.items():
            gap = paired_group_bootstrap(metric, y, score, next(iter(logits.values())), group, n=args.resamples)
            parts.append(f"{what} {gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")
        print(f"{' + '.join(names):24}", "; ".join(parts), flush=True)


if __name__ == "__main__":
    main()
