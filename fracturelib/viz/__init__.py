"""What people see: figures, the page of a report, and the explorers with controls."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_explorer_render": ["OUTCOMES", "outcomes"],
        "evaluation": [
            "bands_plot",
            "decision_plot",
            "predictive_values_plot",
            "reliability_plot",
            "subgroups_plot",
            "thousand_plot",
        ],
        "figures": [
            "BLUE",
            "GREY",
            "RED",
            "class_balance",
            "confusion_plot",
            "convolution_plot",
            "curves_plot",
            "dots_plot",
            "figure",
            "grey_histograms",
            "learning_curves",
            "losses_plot",
            "montage",
            "score_histogram",
            "sweep_plot",
        ],
        "gradcam_explorer": ["GradCAMExplorer"],
        "heatmaps": ["baselines_plot", "cascade_plot", "grid_plot", "heat_montage", "ordered_plot", "rivals_plot"],
        "image_formation": ["ImageFormationView", "PANELS", "panels"],
        "shift": [
            "changes_plot",
            "costs_plot",
            "dose_plot",
            "few_labels_plot",
            "greys_plot",
            "likelihood_plot",
            "repairs_plot",
            "scores_plot",
        ],
        "threshold_explorer": ["ThresholdExplorer"],
    },
)
