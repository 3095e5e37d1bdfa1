"""Does a tied shortcut fool a classifier, and does its heat map give it away?

    python benchmarks/shortcut.py [--images 800] [--rate 0.95] [--epochs 12]

Two sets of simulated images of the same patients, one with the lead marker tied to the label in train and val but not
in test. The same SmallCNN is trained on each. Printed are the AUCs on val and test, and how often the peak of Grad-CAM
lies on the marker in those fractured val images that have one. The marker's place is known exactly: the image is made
again without it.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib.data.images import load_images
from fracturelib.data.masks import mask_to_square
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.localization import energy_in_mask, grown, pointing_game
from fracturelib.explain.overlay import upsample
from fracturelib.metrics.classification import roc_auc
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import stages
from fracturelib.simulate.dataset import image_of, make_image, simulate_dataset
from fracturelib.training.config import TrainConfig
from fracturelib.training.train import Images, fit


def images_of(folder: Path, frame: pd.DataFrame, split: str, size: int) -> Images:
    part = frame[frame["split"] == split]
    return Images(load_images(folder, list(part["file"]), size=size), np.array(part["label"], np.int64))


def marker_masks(folder: Path, names: list[str], size: int) -> list[np.ndarray]:
    """Where the marker is: (size, size) uint8 of 0 and 1 for each image."""
    masks = []
    for name in names:
        image = image_of(folder, Path(name).stem)
        label = Path(name).parent.name == "Fractured"
        # "agrees" puts the marker on a fractured image; its opposite takes it off.
        pair = [make_image(replace(image, shortcut=(("marker", agrees == label),))).image for agrees in (True, False)]
        there = np.abs(pair[0].astype(int) - pair[1]) > 50
        masks.append(mask_to_square(there.astype(np.uint8), size))
    return masks


def on_marker(classifier: Classifier, images: np.ndarray, masks: list[np.ndarray]) -> tuple[float, float]:
    """How often the peak lies on the marker (within a twentieth of the image), and the mean evidence there."""
    near = classifier.size // 20
    hits, shares = [], []
    with GradCAM(classifier.model, list(stages(classifier.model).values())[-1]) as cam:
        for image, mask in zip(images, masks, strict=True):
            heat = upsample(cam(classifier.tensor(image[None]))[0], classifier.size)
            hits.append(pointing_game(heat, mask, tolerance=near))
            shares.append(energy_in_mask(heat, grown(mask, near)))
    return float(np.mean(hits)), float(np.nanmean(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--rate", type=float, default=0.95)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    config = TrainConfig(epochs=args.epochs, patience=args.epochs)
    with tempfile.TemporaryDirectory() as temporary:
        for name, shortcut in (("tied", {"marker": args.rate}), ("free", None)):
            folder = Path(temporary) / name
            frame = simulate_dataset(folder, images=args.images, seed=7, shortcut=shortcut)
            train, val, test = (images_of(folder, frame, split, config.size) for split in ("train", "val", "test"))
            classifier, _ = fit(train, val, config)
            part = frame[frame["split"] == "val"].reset_index(drop=True)
            chosen = part.index[(part["label"] == 1) & (part["marker"] == 1) & (part["view"] != "both")]
            masks = marker_masks(folder, list(part["file"][chosen]), config.size)
            keep = [i for i, mask in enumerate(masks) if mask.any()]
            peak, share = on_marker(classifier, val.images[chosen[keep]], [masks[i] for i in keep])
            aucs = [roc_auc(images.labels, classifier.scores(images.images)) for images in (val, test)]
            print(
                f"marker {name}: AUC on val {aucs[0]:.3f}, on test {aucs[1]:.3f}; {len(keep)} fractured val images "
                f"with a marker: the peak lies on it in {peak:.2f}, and {share:.2f} of the evidence",
                flush=True,
            )


if __name__ == "__main__":
    main()
