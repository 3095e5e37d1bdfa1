"""What people see: figures, the page of a report, and the explorers with controls."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "evaluation": [
            "reliability_plot",
            "thousand_plot",
        ],
        "figures": [
            "confusion_plot",
            "curves_plot",
            "figure",
            "montage",
        ],
        "forest": ["forest_plot"],
        "gradcam_explorer": ["GradCAMExplorer"],
        "image_formation": ["ImageFormationView"],
        "spin_echo": ["SpinEchoView"],
        "study_explorer": ["StudyExplorer"],
        "threshold_explorer": ["ThresholdExplorer"],
    },
)
