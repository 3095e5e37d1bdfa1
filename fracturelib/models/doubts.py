"""A word on images that are unlike those that a network learnt from; an inverted one is judged as its negative."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fracturelib.data.images import in_colour, to_square
from fracturelib.models.classifier import Classifier, Judged

CERTAIN = 1.3  # so many times stranger than its negative is an image that is turned back
UNLIKE = "unlike the images that the network learnt from: its score means little"
COLOUR = "a picture in colour, unlike the images that the network learnt from: its score means little"
NEGATIVE = "its grey values look inverted: scored as its negative"


def doubted(
    classifier: Classifier, squares: np.ndarray, stored: Sequence[np.ndarray], paths: Sequence[Path]
) -> tuple[Judged, list[str]]:
    """What is made of images, squares (n, s, s) and as `stored` at `paths`, and what is strange about each."""
    judged, doubts = classifier.judge(squares, stored=stored), [""] * len(squares)
    strange = [int(i) for i in np.flatnonzero(judged.strangeness > 1)]
    if not strange:
        return judged, doubts
    negatives = [255 - stored[i] for i in strange]
    turned = np.stack([to_square(negative, classifier.size) for negative in negatives])
    again = classifier.judge(turned, stored=negatives)
    for k, i in enumerate(strange):
        if again.strangeness[k] <= 1 and judged.strangeness[i] >= CERTAIN * again.strangeness[k]:
            judged.logits[i], judged.thresholds[i], doubts[i] = again.logits[k], again.thresholds[k], NEGATIVE
            if judged.regions is not None and again.regions is not None:
                judged.regions[i] = again.regions[k]
        else:
            doubts[i] = COLOUR if in_colour(paths[i]) else UNLIKE
    return judged, doubts
