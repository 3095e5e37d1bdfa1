"""Where a network looks, and whether that is where the fracture is.

Class activation maps, their measurement against masks, and their sanity checks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cam_methods": ["METHODS"],
        "gradcam": ["GradCAM", "combined"],
        "localization": [
            "CUTS",
            "ceiling_images",
            "ceiling_map",
            "centre_map",
            "chance_images",
            "energy_in_mask",
            "found_parts",
            "grown",
            "judge_images",
            "judge_maps",
            "judged_table",
            "marked",
            "otsu_cut",
            "iou",
            "pointing_game",
            "rank_accuracy",
            "tolerance_at",
            "tuned_cut",
        ],
        "overlay": ["normalise", "overlay", "upsample"],
        "perturbation": ["BASELINES", "ordered_curves"],
        "pixel_orders": ["compare_orders"],
        "rivals": ["Outlined", "judge_layer", "methods_by_layer", "rivals_of", "side_by_side"],
        "sanity_checks": [
            "cascade",
            "curve_area",
            "image_maps",
            "learnt_parts",
            "randomised",
            "rank_correlation",
            "ssim",
            "strangers",
        ],
    },
)
