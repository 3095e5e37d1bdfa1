"""Where a network looks, and whether that is where the fracture is.

Class activation maps, their measurement against masks, and their sanity checks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "gradcam": ["GradCAM"],
        "localization": [
            "centre_map",
            "chance_images",
            "energy_in_mask",
            "found_parts",
            "grown",
            "judge_images",
            "otsu_cut",
            "pointing_game",
            "tolerance_at",
        ],
        "overlay": ["normalise", "upsample"],
        "pixel_orders": ["compare_orders"],
        "rivals": ["Outlined", "judge_layer", "methods_by_layer", "rivals_of", "side_by_side"],
        "sanity_checks": [
            "cascade",
            "image_maps",
            "rank_correlation",
            "ssim",
            "strangers",
        ],
        "slices": ["SliceExplainer"],
    },
)
