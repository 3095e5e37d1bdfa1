"""From a folder to arrays: images of every promised format and layout, labels, groups, splits, masks, predictions.

`layouts.read_folder` is the one reader of a folder.
"""

from fracturelib._io.files import InputError
from fracturelib.data.dataset import data_folder, load_annotations, load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.layouts import read_folder
from fracturelib.data.masks import mask_to_square
from fracturelib.data.predictions import read_predictions

__all__ = [
    "InputError",
    "data_folder",
    "load_annotations",
    "load_images",
    "load_manifest",
    "mask_to_square",
    "read_folder",
    "read_predictions",
]
