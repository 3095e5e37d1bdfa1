"""Copies of studies planted in a simulated set, found by the audit: recall and precision, by kind.

    python benchmarks/study_copies.py

Each of `--copies` studies is planted a second time in another split: with other noise and brightness, with another crop
in the picture and along the slices, with its slices reversed, with all of that, as a third of its slices, or as one
slice. A pair that the audit joins and that was not planted is wrong; precision is of pairs. With `--tables` the worst
of the planted and the nearest of the strangers are printed, by which the limits were set.
"""

import argparse
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fracturelib.curate.audit import audit_folder
from fracturelib.curate.duplicates import candidate_pairs, signatures
from fracturelib.curate.study_copies import NEIGHBOURS, register_studies
from fracturelib.curate.study_looks import look_at_studies
from fracturelib.metrics.intervals import wilson_interval
from fracturelib.simulate.knee_set import simulate_knees
from tests.study_copies import KINDS, plant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--knees", type=Path, help="a simulated set that is there already")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", action="store_true", help="how near copies and strangers come to the limits")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        knees = options.knees or Path(folder) / "knees"
        if options.knees is None:
            simulate_knees(knees, studies=options.studies, seed=options.seed)
        planted = plant(knees, Path(folder) / "set", copies=options.copies, seed=options.seed)
        start = time.perf_counter()
        audit = audit_folder(Path(folder) / "set")
        seconds = time.perf_counter() - start
        files = list(audit.images["file"])
        print(verdict(files, [[files[i] for i in group] for group in audit.copies.groups], planted))
        print(f"{len(audit.leaks)} of {len(planted)} scans are reported in more than one split")
        print(f"{len(files)} studies in {seconds:.0f} s")
        if options.tables:
            print(nearest(Path(folder) / "set", planted).to_string(index=False))


def verdict(files: list[str], groups: list[list[str]], planted: dict[tuple[str, str], str]) -> str:
    """Recall by kind and precision of the pairs that groups make, with 95 % intervals."""
    found = {tuple(sorted(pair)) for group in groups for pair in combinations(group, 2)}
    lines = []
    for kind in (*KINDS, "all"):
        own = [tuple(sorted(pair)) for pair, how in planted.items() if kind in (how, "all")]
        hit = sum(pair in found for pair in own)
        lines.append(f"{kind:9s} {hit} of {len(own)} found: recall {said(hit, len(own))}")
    right = len(found & {tuple(sorted(pair)) for pair in planted})
    lines.append(
        f"{right} of {len(found)} pairs are right: precision {said(right, len(found))}, of {len(files)} studies"
    )
    return "\n".join(lines)


def said(hit: int, total: int) -> str:
    interval = wilson_interval(hit, total)
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def nearest(folder: Path, planted: dict[tuple[str, str], str]) -> pd.DataFrame:
    """Of each kind, and of strangers that were compared, the extremes of what decides."""
    paths = sorted(folder.rglob("*.npy"))
    names = [path.relative_to(folder).as_posix() for path in paths]
    looks = look_at_studies(paths)
    kind_of = {tuple(sorted(pair)): kind for pair, kind in planted.items()}
    rows = []
    for i, j in candidate_pairs(signatures(looks), NEIGHBOURS):
        kind = kind_of.get(tuple(sorted((names[i], names[j]))), "strangers")
        found = register_studies(looks[i], looks[j])
        rows.append((kind, -1.0, 0) if found is None else (kind, found.likeness, found.points))
    table = pd.DataFrame(rows, columns=["kind", "likeness", "points"])
    return (
        table.groupby("kind")
        .agg(pairs=("kind", "size"), least=("likeness", "min"), most=("likeness", "max"), points=("points", "median"))
        .round(3)
        .reset_index()
    )


if __name__ == "__main__":
    main()
