"""Draw the README's picture again, from simulated images and the shipped demo network: docs/picture.png."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from numpy.typing import NDArray
from PIL import Image

from fracturelib.curate.audit import audit_folder
from fracturelib.curate.findings import Audit
from fracturelib.data.coco import fracture_mask
from fracturelib.data.dataset import load_annotations, load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.masks import mask_to_square
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.overlay import normalise, overlay, upsample
from fracturelib.models.classifier import load_classifier
from fracturelib.models.registry import stages
from fracturelib.tutorial import DEMO, ROOT, SHIPPED_MODEL
from fracturelib.viz.figures import OUTLINE, show_image

COPIED = "train/Fractured/P0170_1.jpg"
EXPLAINED = "test/Fractured/P0461_1.jpg"
DEGREES, GAMMA = -9.0, 0.75  # what is done to the copy, after mirroring it
Grey = NDArray[np.uint8]


def altered(image: Grey) -> tuple[Grey, NDArray[np.float64]]:
    """The image mirrored, turned and brightened; and the map of its points, (2, 3)."""
    height, width = image.shape
    mirror = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], float)
    turn = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), DEGREES, 1.0), [0, 0, 1]])
    carried = (turn @ mirror)[:2]
    turned = cv2.warpAffine(image, carried, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    return (255 * (turned / 255.0) ** GAMMA).astype(np.uint8), carried


def audited(original: Grey, copy: Grey) -> Audit:
    """What the audit says of a few images, one of which is in train and, altered, in test."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        for split in ("train", "test"):
            for label in ("Fractured", "Not Fractured"):
                (folder / split / label).mkdir(parents=True)
                for path in sorted((DEMO / split / label).glob("*.jpg"))[10:16]:
                    (folder / split / label / path.name).write_bytes(path.read_bytes())
        Image.fromarray(original).save(folder / "train" / "Fractured" / "one.png")
        Image.fromarray(copy).save(folder / "test" / "Fractured" / "two.png")
        return audit_folder(folder)


def explained() -> tuple[Grey, Grey, Grey, float]:
    """An image of the test set, its heat map, the outline of its fracture, and its score."""
    classifier = load_classifier(SHIPPED_MODEL)
    frame = load_manifest(DEMO).set_index("file")
    images = load_images(DEMO, [EXPLAINED], size=classifier.size)
    with GradCAM(classifier.model, list(stages(classifier.model).values())[-1]) as cam:
        heat = upsample(cam(classifier.tensor(images))[0], classifier.size)
    row = frame.loc[EXPLAINED]
    mask = fracture_mask(load_annotations(DEMO)[EXPLAINED], width=row["width"], height=row["height"])
    mask = mask_to_square(mask, classifier.size)
    assert not mask[np.unravel_index(heat.argmax(), heat.shape)], "the picture says that the peak lies beside the break"
    return images[0], overlay(images[0], normalise(heat)[0]), mask, float(classifier.scores(images)[0])


def title(ax: Axes, text: str) -> None:
    ax.set_title(text, fontsize=9.5, pad=5)


def main(out: Path = ROOT / "docs" / "picture.png") -> None:
    """Two questions of the course: is the test set what it seems, and where does the network look?"""
    size = 320
    original = load_images(DEMO, [COPIED], size=size)[0]
    copy, carried = altered(original)
    audit = audited(original, copy)
    (link,) = audit.copies.found
    image, heat, mask, score = explained()

    figure = Figure(figsize=(8, 2.75), facecolor="white")
    width, height, bottom = 0.232, 0.675, 0.115
    places = (0.008, 0.252, 0.516, 0.760)
    axes = [figure.add_axes((x, bottom, width, height)) for x in places]
    for ax, shown, outlined in zip(axes, (original, copy, image, heat), (None, None, mask, mask), strict=True):
        show_image(ax, shown, outlined)
    annotation = load_annotations(DEMO)[COPIED]
    row = load_manifest(DEMO).set_index("file").loc[COPIED]
    broken = mask_to_square(fracture_mask(annotation, width=row["width"], height=row["height"]), size)
    here = np.argwhere(broken)[:, ::-1].mean(axis=0)
    there = carried @ [*here, 1]
    join = ConnectionPatch(here, there, "data", "data", axesA=axes[0], axesB=axes[1], color=OUTLINE, linewidth=1.8,
                           arrowstyle="-", shrinkA=0, shrinkB=0)  # fmt: skip
    figure.add_artist(join)
    for ax, point in zip(axes[:2], (here, there), strict=True):
        ax.plot(*point, "o", color=OUTLINE, markersize=9, fillstyle="none", markeredgewidth=1.8)
    title(axes[0], "in the training set")
    title(axes[1], "in the test set")
    title(axes[2], f"fracture outlined, score {score:.2f}")
    title(axes[3], "evidence (Grad-CAM)")
    heading = {"fontsize": 12, "fontweight": "bold", "va": "top", "ha": "center"}
    figure.text(0.246, 0.985, "Is the test set new to the network?", **heading)
    figure.text(0.754, 0.985, "Does it look at the fracture?", **heading)
    said = {"fontsize": 8.8, "va": "center", "ha": "center"}
    figure.text(0.246, 0.05, f"Audit: one radiograph twice ({link.how})", color="#A33C00", **said)
    figure.text(0.754, 0.05, "Right answer, evidence beside the break", color="#A33C00", **said)
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=200, metadata={"Software": None})


if __name__ == "__main__":
    main()
