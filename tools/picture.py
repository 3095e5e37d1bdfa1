"""Draw the README's picture again, from the demo set and the shipped classifier: docs/picture.png."""

from pathlib import Path

import numpy as np

from fracturelib.data.coco import fracture_mask
from fracturelib.data.dataset import load_annotations, load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.masks import mask_to_square
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.overlay import normalise, overlay, upsample
from fracturelib.models.classifier import load_classifier
from fracturelib.models.registry import stages
from fracturelib.tutorial import DEMO, ROOT, SHIPPED_MODEL
from fracturelib.viz.figures import montage

REGIONS = ("forearm", "ankle", "wrist", "knee", "hand")


def main(out: Path = ROOT / "docs" / "picture.png") -> None:
    """The surest true positive of each region: the image with its fracture outlined, and the evidence below it."""
    classifier = load_classifier(SHIPPED_MODEL)
    frame = load_manifest(DEMO)
    frame = frame[(frame["split"] == "test") & (frame["label"] == 1)].reset_index(drop=True)
    images = load_images(DEMO, list(frame["file"]), size=classifier.size)
    scores = classifier.scores(images)
    annotations = load_annotations(DEMO)
    chosen = [int(np.argmax(np.where(frame["region"] == region, scores, -1))) for region in REGIONS]
    radiographs, maps, masks = [], [], []
    with GradCAM(classifier.model, list(stages(classifier.model).values())[-1]) as cam:
        for i in chosen:
            row = frame.iloc[i]
            heat = upsample(cam(classifier.tensor(images[i : i + 1]))[0], classifier.size)
            radiographs.append(images[i])
            maps.append(overlay(images[i], normalise(heat)[0]))
            mask = fracture_mask(annotations[row["file"]], width=row["width"], height=row["height"])
            masks.append(mask_to_square(mask, classifier.size))
    titles = [f"{frame.iloc[i]['region']}, score {scores[i]:.2f}" for i in chosen]
    figure = montage([*radiographs, *maps], [*titles, *[""] * len(maps)], masks=[*masks, *masks], columns=len(chosen))
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
