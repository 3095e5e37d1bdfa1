"""How fast knees are made: `python benchmarks/simulate_knees.py [--studies 24]`.

Prints CPU-seconds for a study of 20 x 128 x 128 on one core, and seconds for a set on all cores, start included.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from fracturelib.simulate.knee_set import simulate_knees
from fracturelib.simulate.knee_study import simulate_knee

TEARS = ("none", "degenerated", "partial", "complete")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=24)
    studies = parser.parse_args().studies
    simulate_knee(0)  # the pack is read once
    spent = []
    for seed in range(studies):
        start = time.process_time()
        simulate_knee(seed, tear=TEARS[seed % 4])
        spent.append(time.process_time() - start)
    low, middle, high = np.percentile(spent, (5, 50, 95))
    print(f"{np.mean(spent):.2f} CPU-seconds a study of 20 x 128 x 128 (median {middle:.2f}, {low:.2f} to {high:.2f})")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        simulate_knees(Path(folder) / "knees", studies=max(studies, 20), progress=False)
        took = time.perf_counter() - start
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / 1e6
    each = took / max(studies, 20)
    print(
        f"a set of {max(studies, 20)} on {os.cpu_count()} cores: {took:.0f} s, {size:.0f} MB; "
        f"300 would take {300 * each:.0f} s and {300 * size / max(studies, 20):.0f} MB"
    )


if __name__ == "__main__":
    main()
