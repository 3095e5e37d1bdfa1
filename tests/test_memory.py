"""Freed memory is kept for the next film, and the environment has the last word."""

import os
import platform
import subprocess
import sys

import pytest

SCORE = """
import resource
import numpy as np
import torch
from fracturelib._files import FILMS_MODEL
from fracturelib._memory import keep_freed_memory
from fracturelib.checkpoint import load_classifier

classifier = load_classifier(FILMS_MODEL)
films = np.zeros((16, 384, 384), np.uint8)
classifier.scores(films[:1])
batch = classifier.tensor(films)  # all at once, as in a training
with torch.inference_mode():
    classifier.model(batch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    classifier.model(batch)
print(int(keep_freed_memory()), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and how many fresh pages the second look at a batch of sixteen films takes."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", SCORE], env=clean | environment, capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept == "1", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the GNU C library")
def test_a_second_batch_takes_hardly_any_fresh_pages() -> None:
    kept, with_it = faults()
    left, without = faults(MALLOC_ARENA_MAX="8")
    assert kept and not left
    assert with_it < without / 10
