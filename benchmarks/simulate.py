"""How fast images are made: `python benchmarks/simulate.py [--images 160]`.

Prints images a second on one core and on all, milliseconds by region, and how much faster a bone's shadow is cast than
by resampling its whole box with scipy's `affine_transform`.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from fracturelib.simulate import simulate_image
from fracturelib.simulate.anatomy import load_pack
from fracturelib.simulate.dataset import simulate_dataset
from fracturelib.simulate.regions import REGIONS
from fracturelib.simulate.render import Camera, Shadow, Tissue, cast_bone


def seconds(work, repeats: int) -> float:  # type: ignore[no-untyped-def]
    work()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def versus_affine() -> float:
    """Time of `affine_transform` over the whole box of a humerus, relative to `cast_bone`'s at the same sampling."""
    bone = load_pack()[0]["humerus"]
    centre = bone.point(0.5)
    camera = Camera(centre, bone.frame[:, 1], bone.frame[:, 0], bone.frame[:, 2], 1.0, 140, 320, (70.0, 160.0))
    tissue = Tissue(3.0, 0.8, 0.2, 0.05)
    ours = seconds(lambda: cast_bone(Shadow.empty(camera), camera, bone, np.eye(4), tissue), 5)
    scale = 1 / bone.spacing
    shape = (320, 140, 140)
    theirs = seconds(
        lambda: ndimage.affine_transform(bone.distance, np.eye(3) * scale, output_shape=shape, order=1).sum(axis=2), 3
    )
    return theirs / ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=160)
    images = parser.parse_args().images
    print("ms for an image of 320 pixels, one core")
    for region in REGIONS:
        count = iter(range(1000))
        print(f"  {region:10s} {1000 * seconds(lambda r=region, c=count: simulate_image(r, seed=next(c)), 6):6.0f}")
    for workers in sorted({1, os.cpu_count() or 1}):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            simulate_dataset(Path(folder) / "set", images=images, workers=workers, progress=False)
            print(f"{workers} processes: {images / (time.perf_counter() - start):.1f} images a second, start included")
    print(f"a bone's shadow is cast {versus_affine():.1f} times as fast as by affine_transform over its box")


if __name__ == "__main__":
    main()
