"""What people see: figures, the page of a report, and the explorers with controls."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_explorer_render": ["OUTCOMES", "outcomes"],
        "evaluation": [
            "decision_plot",
            "reliability_plot",
            "subgroups_plot",
            "thousand_plot",
        ],
        "figures": [
            "confusion_plot",
            "convolution_plot",
            "curves_plot",
            "dots_plot",
            "figure",
            "learning_curves",
            "montage",
            "score_histogram",
            "sweep_plot",
        ],
        "gradcam_explorer": ["GradCAMExplorer"],
        "heatmaps": ["cascade_plot", "heat_montage", "ordered_plot", "rivals_plot"],
        "image_formation": ["ImageFormationView"],
        "shift": [
            "changes_plot",
            "costs_plot",
            "few_labels_plot",
            "likelihood_plot",
            "repairs_plot",
            "scores_plot",
        ],
        "spin_echo": ["SpinEchoView"],
        "study_explorer": ["StudyExplorer"],
        "threshold_explorer": ["ThresholdExplorer"],
    },
)
