"""From a folder to arrays: images and studies of every promised format and layout, with labels, groups and splits.

`layouts.read_folder` is the one reader of a folder.
"""

from fracturelib._io.files import InputError
from fracturelib.data.dataset import data_folder, load_manifest
from fracturelib.data.images import load_images
from fracturelib.data.predictions import read_predictions

__all__ = ["InputError", "data_folder", "load_images", "load_manifest", "read_predictions"]
