"""Where a network looks, and whether that is where the fracture is.

Class activation maps, their measurement against masks, and their sanity checks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "gradcam": ["GradCAM"],
        "localization": ["centre_map", "pointing_game", "tolerance_at"],
        "pixel_orders": ["compare_orders"],
        "rivals": ["OutlinedImages"],
        "sanity_checks": ["cascade", "image_maps"],
        "slices": ["SliceExplainer"],
    },
)
