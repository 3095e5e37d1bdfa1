"""What teaching a pretrained network costs: `python benchmarks/training.py DIR [--images 192] [--rounds 3]`.

One epoch of fine-tuning EfficientNet-Lite0 at 384 pixels on the same images, from the same ImageNet weights, in batches
of 16: ours in its four ways, and fastai's `Learner` over timm's network (with its usual decoding, padding, mirroring)
in float32, where they are installed. Interleaved in one run, medians, images a second, and the ratio to fastai. Ours
learns to localize as well as to classify; fastai learns to classify. Freed memory is kept for both
(`fracturelib/_io/memory.py`). Then what as many epochs as the shipped network has take, without its folds, and with
fastai. Stop everything else first.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fracturelib._io.memory import keep_freed_memory
from fracturelib.data.dataset import load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.masks import outlines
from fracturelib.models.efficientnet_lite import imagenet_classifier
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.finetune import fit_localizer
from fracturelib.training.precision import resolved_precision
from fracturelib.training.train import Images

SIZE, BATCH = 384, 16
SHIPPED_EPOCHS = 7


def fastai_epoch(folder: Path, frame: pd.DataFrame) -> Callable[[], None] | None:
    """An epoch of fastai's fine-tuning, or nothing if fastai or timm is not installed."""
    try:
        import timm
        from fastai.vision import all as fastai
    except ImportError as error:
        print(f"no peer: {error}")
        return None
    network = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    network.load_state_dict(dict(zip(network.state_dict(), imagenet_classifier().state_dict().values(), strict=True)))
    network.reset_classifier(2)
    loaders = fastai.ImageDataLoaders.from_df(
        frame.assign(name=frame["file"], is_val=False), path=folder, fn_col="name", label_col="label", valid_pct=0.02,
        seed=0, bs=BATCH, num_workers=2, item_tfms=fastai.Resize(SIZE, method="pad", pad_mode="zeros"),
        batch_tfms=[fastai.Flip(), fastai.Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )  # fmt: skip
    learner = fastai.Learner(loaders, network, loss_func=fastai.CrossEntropyLossFlat(), opt_func=fastai.Adam)

    def epoch() -> None:
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(1, 4e-4)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FRACTURE_CACHE"] = cache
        run(args.folder, args.images, args.rounds)


def run(folder: Path, images: int, rounds: int) -> None:
    frame = load_manifest(folder)
    train = frame[frame["split"] == "train"].sample(images, random_state=0).sort_values("file").reset_index(drop=True)
    # Both classes and a few images only, so that the epoch's own judging costs little.
    val = frame[frame["split"] == "val"].groupby("label").head(2).reset_index(drop=True)
    frame = pd.concat([train, val], ignore_index=True)
    masks = outlines(folder, frame, SIZE)
    both = [
        Images(load_images(folder, list(f["file"]), size=SIZE), np.array(f["label"], np.int64)) for f in (train, val)
    ]

    def ours(tune: str, precision: str) -> Callable[[], None]:
        config = FineTuneConfig(unfreeze=tune, precision=precision, epochs=1, batch=BATCH)
        return lambda: void(fit_localizer(*both, *masks, config, progress=False))

    begin = time.perf_counter()
    ours("heads", "float32")()  # the features, which are computed once
    features = time.perf_counter() - begin
    works = {
        "ours, all, float32": ours("all", "float32"),
        "ours, all": ours("all", "auto"),
        "ours, most, float32": ours("most", "float32"),
        "ours, most": ours("most", "auto"),
        "ours, last": ours("last", "auto"),
        "ours, heads": ours("heads", "auto"),
    }
    peer = fastai_epoch(folder, train)
    if peer is not None:
        works = {"fastai, all, float32": peer, **works}
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - begin)
    medians = {name: float(np.median(times)) for name, times in took.items()}
    print(f"{images} images of {SIZE} pixels, batches of {BATCH}, {rounds} rounds, {torch.get_num_threads()} threads;")
    print(f"precision where it is not named: {resolved_precision('auto')}")
    base = medians.get("fastai, all, float32")
    for name, seconds in medians.items():
        ratio = "" if base is None else f", {seconds / base:.2f} of fastai's time"
        print(f"{name:24} {seconds:7.1f} s an epoch, {images / seconds:6.1f} images a second{ratio}")
    print(f"features of the heads and the last stage, once: {features / images * 1000:.0f} ms an image")
    whole = len(load_manifest(folder).query("split == 'train'")) * SHIPPED_EPOCHS / images
    for name in ("ours, most", "fastai, all, float32"):
        if name in medians:
            print(f"{SHIPPED_EPOCHS} epochs of all training images, {name}: {medians[name] * whole / 60:.0f} min")


def void(_: object) -> None:
    """Forget what a training returns."""


if __name__ == "__main__":
    main()
