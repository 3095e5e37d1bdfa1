"""The network that comes with the library: package data, so that an installed wheel has it without a network."""

from pathlib import Path

_FOLDER = Path(__file__).with_name("pretrained")
PRETRAINED = _FOLDER / "fracatlas-localizer.pt"  # for real images; its model card lies beside it
PRETRAINED_SPLITS = _FOLDER / "fracatlas-localizer-splits.csv"  # what of FracAtlas it learnt from
