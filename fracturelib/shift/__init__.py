"""Radiographs from another hospital: what they cost, how one notices, and what can be repaired."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "acquisition": [
            "OLD_DETECTOR",
            "Site",
            "delivered",
        ],
        "drift": ["costs", "group_permutation_test", "ks_statistic", "site_table"],
        "harmonize": [
            "ranked",
            "fit_inversion_detector",
        ],
        "hospital": ["Hospital", "harmonizing_steps", "other_hospital", "told_apart"],
        "recalibration": [
            "few_labels",
            "fit_intercept",
            "fractures_needed",
            "prior_likelihood",
            "repair_and_judge",
            "repairs_over_draws",
        ],
    },
)
