"""Freed memory is kept for the next image, and the environment has the last word."""

import os
import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCORE = """
import resource
import numpy as np
import torch
from fracturelib.models.shipped import PRETRAINED
from fracturelib._io.memory import keep_freed_memory
from fracturelib.models.classifier import load_classifier

kept = keep_freed_memory()
classifier = load_classifier(PRETRAINED)
images = np.zeros((16, 384, 384), np.uint8)
classifier.scores(images[:1])
batch = classifier.tensor(images)  # all at once, as in a training
pages = [0]
with torch.inference_mode():
    for _ in range(8):
        classifier.model(batch)
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(int(kept), int(np.median(np.diff(pages)[3:])))
"""


def faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and how many fresh pages a batch of sixteen takes: the median of five, after three.

    Not the second batch alone: until freed blocks of every size lie where the next ones fit, and now and then later,
    one block needs new room.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", SCORE], env=clean | environment, capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept == "1", int(count)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not the GNU C library")
def test_a_later_batch_takes_hardly_any_fresh_pages() -> None:
    kept, with_it = faults()
    left, without = faults(MALLOC_ARENA_MAX="8")
    assert kept and not left
    assert with_it < without / 10


def test_the_library_leaves_the_allocator_alone() -> None:
    for path in (ROOT / "fracturelib").rglob("*.py"):
        if path.stem not in ("cli", "tutorial", "memory"):
            assert "keep_freed_memory" not in path.read_text(), path
