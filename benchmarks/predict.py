"""What scoring images costs: `python benchmarks/predict.py FOLDER [--images 800] [--rounds 3]`.

`fracture predict` with the shipped network for real images, as a command, with its start, its decoding and its table,
against a plain loop over timm's network of the same kind and size (OpenCV reads, pads and resizes; batches of 16; no
table), in a process of its own with its start. Medians of interleaved rounds; the largest memory of either.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fracturelib.models.shipped import PRETRAINED

MODEL = PRETRAINED
SIZE, BATCH = 384, 16


def plain_loop(files: list[str]) -> None:
    """What one would write without a library: every image through timm's network, once."""
    import cv2
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0", num_classes=2).eval()
    network = network.to(memory_format=torch.channels_last)
    scores = []
    for start in range(0, len(files), BATCH):
        batch = np.zeros((len(files[start : start + BATCH]), SIZE, SIZE), np.uint8)
        for i, file in enumerate(files[start : start + BATCH]):
            image = cv2.imread(file, cv2.IMREAD_GRAYSCALE)
            scale = SIZE / max(image.shape)
            height, width = (max(1, round(side * scale)) for side in image.shape)
            top, left = (SIZE - height) // 2, (SIZE - width) // 2
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            batch[i, top : top + height, left : left + width] = small
        with torch.inference_mode():
            x = (torch.from_numpy(batch).float() / 255 - 0.5) / 0.5
            x = x[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            scores.append(torch.softmax(network(x), dim=1)[:, 1].numpy())
    print(f"{len(np.concatenate(scores))} scores, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds, and the largest resident memory in GB, of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:4])} ...: failed")
    return time.perf_counter() - begin, used.ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plain is not None:
        plain_loop(args.plain.read_text().splitlines())
        return
    files = sorted(str(p.resolve()) for p in args.folder.rglob("*.jpg"))
    files = [files[i] for i in np.random.default_rng(0).permutation(len(files))[: args.images]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images.txt").write_text("\n".join(files))
        images = folder / "images"
        images.mkdir()
        for i, file in enumerate(files):
            (images / f"{i:04d}.jpg").symlink_to(file)
        environment = {**os.environ, "FRACTURE_CACHE": str(folder / "cache")}
        fracture = [sys.executable, "-m", "fracturelib.cli", "predict", str(images), "--model", str(MODEL), "--quiet"]
        commands = {
            "fracture predict": [*fracture, "--csv", str(folder / "scores.csv")],
            "plain timm loop": [sys.executable, __file__, "--plain", str(folder / "images.txt")],
        }
        took: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for which, command in commands.items():
                took[which].append(timed(command, environment))
    medians = {which: np.median(found, axis=0) for which, found in took.items()}
    for which, (seconds, memory) in medians.items():
        print(f"{which:18} {len(files) / seconds:5.1f} images a second, {seconds:5.1f} s, {memory:.2f} GB")
    ratio = medians["fracture predict"][0] / medians["plain timm loop"][0]
    print(f"{ratio:.2f} of the plain loop's time")


if __name__ == "__main__":
    main()
