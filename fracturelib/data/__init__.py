"""From a folder to arrays: images and studies of every promised format and layout, with labels, groups and splits.

`layouts.read_folder` is the one reader of a folder.
"""

from fracturelib._io.files import InputError
from fracturelib.data.dataset import data_folder, load_annotations, load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.masks import mask_to_square
from fracturelib.data.predictions import read_predictions
from fracturelib.data.studies import load_studies
from fracturelib.data.volumes import read_study

__all__ = [
    "InputError",
    "data_folder",
    "load_annotations",
    "load_images",
    "load_manifest",
    "load_studies",
    "mask_to_square",
    "read_predictions",
    "read_study",
]
