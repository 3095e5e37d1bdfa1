"""How far a threshold is off that few images chose: `python benchmarks/threshold_spread.py [SCORES ...]`.

Scores out of fold, such as those in docs/out_of_fold, with label, group and region. Their groups are dealt into ten
parts, ten times over; each part chooses a threshold by region for sensitivity 0.90, as the validation images of a fold
do in `fracture train --folds 5 --by-region`, and the other nine say what it is worth. Two ways of choosing: by counting
the part's fractures, as the library does, and by the sensitivity that a logistic calibration of the part expects, in
which its unfractured images count, too. Mean and standard deviation over the hundred parts.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.models.regions import shifts_of
from fracturelib.training.folds import folds_by_patient

TARGET, PARTS, DEALS = 0.90, 10, 10
SCORES = Path(__file__).parents[1] / "docs" / "out_of_fold"


def counted(labels: np.ndarray, evidence: np.ndarray) -> float:
    return threshold_for_sensitivity(labels, evidence, TARGET)


def expected(labels: np.ndarray, evidence: np.ndarray) -> float:
    """Where the calibrated probabilities above add up to `TARGET` of all of them."""
    line = LogisticRegression(C=1e6).fit(evidence[:, None], labels)
    order = np.argsort(-evidence)
    share = np.cumsum(line.predict_proba(evidence[order, None])[:, 1])
    return float(evidence[order][np.argmax(share >= TARGET * share[-1])])


def worth(table: pd.DataFrame, choose: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
    """Fractures that chose, sensitivity and specificity in the rest, for each part of each deal: (n, 3)."""
    labels = table["label"].to_numpy()
    evidence = logit(table["score"].clip(1e-6, 1 - 1e-6)).to_numpy()
    found = []
    for deal in range(DEALS):
        part_of = folds_by_patient(table, PARTS, deal)
        for part in range(1, PARTS + 1):
            own = part_of == part
            shifts = shifts_of(evidence[own], labels[own], list(table["region"][own]))
            moved = evidence - table["region"].map(shifts).fillna(0).to_numpy()
            said = moved >= choose(labels[own], moved[own])
            rates = [said[~own & (labels == 1)].mean(), 1 - said[~own & (labels == 0)].mean()]
            found.append([labels[own].sum(), *rates])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("fracatlas-heads", "fracatlas-closer", "fracatlas-averaged")
    parser.add_argument("scores", type=Path, nargs="*", default=[SCORES / f"{name}.csv" for name in names])
    for path in parser.parse_args().scores:
        table = pd.read_csv(path)
        for name, choose in (("counted", counted), ("expected", expected)):
            found = worth(table, choose)
            mean, spread = found.mean(axis=0), found.std(axis=0)
            rates = [f"{mean[i]:.3f} (standard deviation {spread[i]:.3f})" for i in (1, 2)]
            print(f"{path.stem}, {name}, {mean[0]:.0f} fractures: sensitivity {rates[0]}, specificity {rates[1]}")


if __name__ == "__main__":
    main()
