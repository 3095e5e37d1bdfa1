"""Does the network notice images that are unlike those it learnt from, and does it leave ordinary ones alone?

    fracture data import PATH/TO/FracAtlas DIR --splits TABLE --listed-only
    python benchmarks/strangers.py DIR --model runs/fracatlas-localizer/fold-1/model.pt [--each 50]

TABLE is a table of splits in which the images of the first fold are test: the network of that fold never met them,
while the shipped one learnt from all. Ordinary are the images of test, which chose nothing of the limit. Strangers are
made up, or made of test images: each kind is written to files and goes the way of `fracture predict`. Printed are the
proportions doubted, with Wilson's intervals, beside those of a rival that looks at grey values alone (the distance of
the histogram of an image from those of train, with a limit chosen alike), and what inverting the test images does to
the AUC.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from fracturelib._io.memory import keep_freed_memory
from fracturelib.data.dataset import load_manifest
from fracturelib.data.decode import read_grey
from fracturelib.metrics.classification import roc_auc
from fracturelib.metrics.intervals import wilson_interval
from fracturelib.models.doubts import NEGATIVE
from fracturelib.models.familiarity import DOUBTED
from fracturelib.workflows import predict_paths

Grey = NDArray[np.uint8]
SIDE = 512


def inverted(image: Grey, _: np.random.Generator) -> Grey:
    """White becomes black."""
    return 255 - image


def quarter_turned(image: Grey, rng: np.random.Generator) -> Grey:
    """Lying on its side."""
    return np.ascontiguousarray(np.rot90(image, 1 if rng.random() < 0.5 else 3))


def far_away(image: Grey, rng: np.random.Generator) -> Grey:
    """A small picture on a large black sheet."""
    small = cv2.resize(image, None, fx=0.28, fy=0.28, interpolation=cv2.INTER_AREA)
    sheet = np.zeros_like(image)
    y, x = (int(rng.integers(0, a - b + 1)) for a, b in zip(sheet.shape, small.shape, strict=True))
    sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
    return sheet


def magnified(image: Grey, rng: np.random.Generator) -> Grey:
    """A twelfth of its width, enlarged."""
    h, w = (max(8, side // 12) for side in image.shape)
    y, x = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    y, x = y + int(rng.integers(-h, h)), x + int(rng.integers(-w, w))
    return cv2.resize(image[y : y + h, x : x + w], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def photographed(image: Grey, rng: np.random.Generator) -> Grey:
    """A telephone's picture of a screen: askew, with its frame, stripes, a reflection, and a cast of colour."""
    h, w = SIDE, SIDE
    screen = cv2.resize(image, (w, h))
    screen = cv2.copyMakeBorder(screen, 40, 60, 40, 40, cv2.BORDER_CONSTANT, value=30)
    size = screen.shape[::-1]
    corners = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], np.float32)
    moved = corners * 0.8 + np.array(size, np.float32) * 0.1 + rng.uniform(-40, 40, (4, 2)).astype(np.float32)
    warp = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    seen = cv2.warpPerspective(screen, warp, size, borderValue=120).astype(float)
    y, x = np.mgrid[: seen.shape[0], : seen.shape[1]]
    seen += 14 * np.sin(x * rng.uniform(0.5, 1.2) + y * rng.uniform(-0.4, 0.4))
    seen += 90 * np.exp(-((x - rng.uniform(0, size[0])) ** 2 + (y - rng.uniform(0, size[1])) ** 2) / 9000)
    colours = np.stack([seen * c for c in (0.92, 1.0, 1.12)], axis=2)
    return np.clip(colours + rng.normal(0, 4, colours.shape), 0, 255).astype(np.uint8)


def holiday(rng: np.random.Generator) -> Grey:
    """A piece of a colour photograph (scikit-learn's samples: a temple, a flower)."""
    picture = load_sample_images().images[int(rng.integers(2))]
    side = int(rng.integers(150, 400))
    y, x = int(rng.integers(0, picture.shape[0] - side)), int(rng.integers(0, picture.shape[1] - side))
    return np.ascontiguousarray(picture[y : y + side, x : x + side])


def _field(rng: np.random.Generator, scale: float) -> NDArray[np.float64]:
    """Smooth noise of deviation 1: (SIDE, SIDE)."""
    field = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), scale)
    return field / field.std()


def _disc(rng: np.random.Generator, y: float, x: float, b: float, a: float, turn: float = 0.0) -> NDArray[np.bool_]:
    """An ellipse, in proportions of the side, its edge a little uneven."""
    v, u = np.mgrid[:SIDE, :SIDE] / SIDE
    v, u = v - y, u - x
    v, u = v * np.cos(turn) - u * np.sin(turn), v * np.sin(turn) + u * np.cos(turn)
    return (v / b) ** 2 + (u / a) ** 2 < 1 + 0.06 * _field(rng, 20)


def ct_slice(rng: np.random.Generator) -> Grey:
    """A made-up slice through a trunk: fat, muscle, two lungs, a vertebra, a table."""
    image = np.zeros((SIDE, SIDE))
    image[_disc(rng, 0.5, 0.5, rng.uniform(0.28, 0.36), rng.uniform(0.38, 0.46))] = 70
    image[_disc(rng, 0.5, 0.5, 0.26, 0.36)] = 120
    for x in (0.34, 0.66):
        image[_disc(rng, 0.47, x, 0.17, 0.12)] = 15
    image[_disc(rng, 0.68, 0.5, 0.06, 0.05)] = 230
    image[_disc(rng, 0.46, 0.55, 0.1, 0.08)] = 150
    image[455:462, 60:450] = 90
    return np.clip(image + 6 * _field(rng, 1) + 5 * _field(rng, 4), 0, 255).astype(np.uint8)


def mri_slice(rng: np.random.Generator) -> Grey:
    """A made-up slice through a head: bright scalp, dark skull, grey and white matter, ventricles."""
    image = np.zeros((SIDE, SIDE))
    b, a = rng.uniform(0.38, 0.44), rng.uniform(0.3, 0.36)
    for scale, grey in ((1.0, 220), (0.94, 25), (0.88, 110), (0.7, 150)):
        image[_disc(rng, 0.5, 0.5, b * scale, a * scale)] = grey
    for x, turn in ((0.45, 0.3), (0.55, -0.3)):
        image[_disc(rng, 0.48, x, 0.1, 0.03, turn)] = 35
    folds = (image == 150) & (np.abs(_field(rng, 6)) < 0.25)
    image[folds] = 105
    return np.clip(image * (1 + 0.1 * _field(rng, 90)) + 5 * _field(rng, 1), 0, 255).astype(np.uint8)


def chest(rng: np.random.Generator) -> Grey:
    """A made-up chest radiograph: two dark lungs, heart, spine, ribs."""
    v, u = np.mgrid[:SIDE, :SIDE] / SIDE
    image = 170 - 40 * np.abs(u - 0.5)
    for x in (0.3, 0.7):
        image[_disc(rng, 0.48, x, rng.uniform(0.3, 0.36), 0.15)] -= 110
    image[_disc(rng, 0.6, 0.56, 0.16, 0.15)] = 165
    image[np.abs(u - 0.5) < 0.04] += 25
    for i in range(8):
        rib = 0.2 + 0.08 * i + 0.35 * (u - 0.5) ** 2 * np.sign(0.5)
        image[np.abs(v - rib) < 0.012] += 25
    return np.clip(cv2.GaussianBlur(image, (0, 0), 3) + 3 * _field(rng, 1), 0, 255).astype(np.uint8)


def ultrasound(rng: np.random.Generator) -> Grey:
    """A made-up sector of speckle."""
    v, u = np.mgrid[:SIDE, :SIDE] / SIDE
    radius, angle = np.hypot(v + 0.1, u - 0.5), np.arctan2(u - 0.5, v + 0.1)
    speckle = np.abs(_field(rng, 1.5) + 1j * _field(rng, 1.5)) * (60 + 35 * _field(rng, 30))
    return np.clip(np.where((np.abs(angle) < 0.6) & (radius < 1), speckle, 0), 0, 255).astype(np.uint8)


def page(rng: np.random.Generator) -> Grey:
    """A page of text."""
    image = np.full((SIDE, SIDE), 250, np.uint8)
    for y in range(40, SIDE - 20, int(rng.integers(18, 30))):
        words = " ".join("".join(rng.choice(list("abcdefghiklmnoprstuvw"), rng.integers(2, 9))) for _ in range(7))
        cv2.putText(image, words, (20, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 20, 1, cv2.LINE_AA)
    return image


def noise(rng: np.random.Generator) -> Grey:
    """Nothing but noise, of any grain."""
    return np.clip(128 + 50 * _field(rng, rng.uniform(0.3, 12)), 0, 255).astype(np.uint8)


OF_IMAGES: dict[str, Callable[[Grey, np.random.Generator], Grey]] = {
    "far away": far_away, "magnified": magnified, "photograph of a screen": photographed,
    "on its side": quarter_turned, "inverted": inverted,
}  # fmt: skip
MADE_UP: dict[str, Callable[[np.random.Generator], Grey]] = {
    "holiday picture": holiday, "CT slice": ct_slice, "MRI slice": mri_slice, "chest": chest,
    "ultrasound": ultrasound, "page of text": page, "noise": noise,
}  # fmt: skip


def written(folder: Path, images: Path, files: list[str], each: int) -> dict[str, Path]:
    """A folder of `each` strangers of each kind, as PNG."""
    folders = {}
    for number, kind in enumerate((*OF_IMAGES, *MADE_UP)):
        rng = np.random.default_rng(number)
        chosen = rng.permutation(files)[:each]
        folders[kind] = folder / kind
        folders[kind].mkdir()
        for i, file in enumerate(chosen):
            picture = OF_IMAGES[kind](read_grey(images / file), rng) if kind in OF_IMAGES else MADE_UP[kind](rng)
            Image.fromarray(picture).save(folders[kind] / f"{i:03d}.png")
    return folders


class Greys:
    """A rival that never asks a network: how often each grey value occurs, and how much of the sheet is black."""

    def __init__(self, train: list[Grey], other: list[Grey]) -> None:
        found = np.array([self.of(image) for image in train])
        self.centre, self.scale = found.mean(axis=0), found.std(axis=0) + 1e-4
        self.limit = float(np.quantile([self.distance(image) for image in other], 1 - DOUBTED))

    @staticmethod
    def of(image: Grey) -> NDArray[np.float64]:
        """(33,)."""
        counts = np.histogram(image, bins=32, range=(0, 256), density=False)[0] / image.size
        return np.append(counts, (image < 8).mean())

    def distance(self, image: Grey) -> float:
        """From ordinary images."""
        return float(np.sqrt((((self.of(image) - self.centre) / self.scale) ** 2).mean()))

    def unlike(self, image: Grey) -> bool:
        """Whether an image is farther away than nearly all ordinary ones."""
        return self.distance(image) > self.limit


def line(name: str, doubted: NDArray[np.bool_], rival: NDArray[np.bool_]) -> str:
    """A row of the table."""
    found = wilson_interval(int(doubted.sum()), len(doubted))
    share = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    return f"{name:<24}{len(doubted):>6}   {share:<24}{rival.mean():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--each", type=int, default=50)
    args = parser.parse_args()

    keep_freed_memory()
    frame = load_manifest(args.folder)
    files = {split: list(part["file"]) for split, part in frame.groupby("split")}
    sample = np.random.default_rng(0).permutation(files["train"])[:400]
    rival = Greys([read_grey(args.folder / f) for f in sample], [read_grey(args.folder / f) for f in files["val"]])
    print(f"{'images':<24}{'number':>6}   {'doubted':<24}by grey values alone")
    plain = predict_paths([args.folder / "test"], args.model)
    alike = np.array([rival.unlike(read_grey(args.folder / f)) for f in files["test"]])
    print(line("ordinary (test)", (plain["doubt"] != "").to_numpy(), alike), flush=True)
    with tempfile.TemporaryDirectory() as place:
        for kind, folder in written(Path(place), args.folder, files["test"], args.each).items():
            table = predict_paths([folder], args.model, progress=False)
            judged = np.array([rival.unlike(read_grey(folder / f)) for f in table["file"]])
            print(line(kind, (table["doubt"] != "").to_numpy(), judged), flush=True)
        negatives = Path(place) / "negatives"
        for label in (0, 1):
            (negatives / ("Not Fractured", "Fractured")[label]).mkdir(parents=True)
        for i, row in enumerate(frame[frame["split"] == "test"].itertuples()):
            target = negatives / ("Not Fractured", "Fractured")[row.label] / f"{i:04d}.png"
            Image.fromarray(255 - read_grey(args.folder / row.file)).save(target)
        table = predict_paths([negatives], args.model)
    back = int((table["doubt"] == NEGATIVE).sum())
    before, after = (roc_auc(t["label"].to_numpy(int), t["score"]) for t in (plain, table))
    print(f"\ninverted: {back} of {len(table)} turned back; AUC {before:.3f} as taken, {after:.3f} inverted")


if __name__ == "__main__":
    main()
