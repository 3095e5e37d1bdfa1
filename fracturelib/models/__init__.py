"""The networks, and the checkpoint that holds one with all that is needed to use it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classifier": ["Classifier", "load_classifier", "save_classifier"],
        "efficientnet_lite": ["imagenet_classifier"],
        "small_cnn": ["SmallCNN"],
    },
)
