"""Radiographs from another hospital: what they cost, how one notices, and what can be repaired."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "acquisition": [
            "OLD_DETECTOR",
            "Site",
            "case_mix",
            "delivered",
            "film_boxes",
            "halfway",
            "one_at_a_time",
            "open_elsewhere",
        ],
        "drift": ["costs", "film_statistics", "permuted_p", "score_gap", "site_table"],
        "harmonize": ["grey_curve", "grey_shares", "ranked", "teach_upright", "turned", "undo", "without_margins"],
        "recalibration": ["few_labels", "fit_intercept", "fractures_needed", "prior_likelihood", "repair_and_judge"],
    },
)
