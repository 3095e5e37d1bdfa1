r"""What a second look at each image is worth: `python benchmarks/tta.py DIR --model MODEL`.

    fracture data import PATH/TO/FracAtlas data/raw/fracatlas --drop-copies --drop-contradictions --drop-broken \
        --splits docs/fracatlas-one-split.csv --listed-only
    python benchmarks/tta.py data/raw/fracatlas --model runs/most/model.pt

The images of val and test together, which no weight was learnt from. First one look at each image, as it is; then, with
the mean of both logits, a second at the mirrored image at each size, or only at images to which the first gave more
than a low score. What each costs in looks of the first size, its AUC and average precision, and its gain over one look
on the same images; intervals are bootstraps over groups. Logits are taken before any temperature: nothing is fitted
here.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from trials import row

from fracturelib.data.dataset import load_manifest
from fracturelib.data.images import load_images
from fracturelib.models.classifier import Classifier, load_classifier

Numbers = NDArray[np.float64]
LOW = (0.3, 0.5, 0.7)  # shares of the images, by the first look, that get no second one


def evidence(classifier: Classifier, images: NDArray[np.uint8]) -> Numbers:
    """The logit of "fractured" less that of "not fractured": (n, s, s) uint8 -> (n,)."""
    logits = classifier.logits(images)
    return logits[:, 1] - logits[:, 0]


def shown(name: str, cost: float, frame: pd.DataFrame, score: Numbers, first: Numbers | None) -> None:
    row(f"{cost:4.2f} looks: {name}", list(frame["label"]), score, list(frame["group"]), first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sizes", default="384,352,320,288")
    args = parser.parse_args()
    classifier = load_classifier(args.model)
    frame = load_manifest(args.folder)
    frame = frame[frame["split"] != "train"].reset_index(drop=True)
    files = list(frame["file"])
    print(f"{args.model.name}: {len(frame)} images of val and test, {int(frame['label'].sum())} fractured")
    first = evidence(classifier, load_images(args.folder, files, size=classifier.size))
    shown("one look", 1.0, frame, first, None)
    for size in map(int, args.sizes.split(",")):
        mirrored = load_images(args.folder, files, size=size)[:, :, ::-1]
        second = evidence(classifier, mirrored)
        shown(f"mirrored at {size} pixels", 1 + (size / classifier.size) ** 2, frame, (first + second) / 2, first)
        if size == classifier.size:
            for share in LOW:
                both = np.where(first >= np.quantile(first, share), (first + second) / 2, first)
                shown(f"but for the lowest {share:.0%}", 2 - share, frame, both, first)


if __name__ == "__main__":
    main()
