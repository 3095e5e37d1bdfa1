"""From a folder to a fitted network: configurations, the two training loops, their losses and augmentation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "baselines": ["metadata_scores"],
        "config": ["TrainConfig", "StudyConfig", "FineTuneConfig"],
        "features": ["whole_features"],
        "finetune": ["fit_localizer"],
        "leaks": ["leak_by_slice"],
        "losses": ["focal_loss", "peak_loss"],
        "multilabel": [
            "Task",
            "compared_tasks",
            "encode_labels",
            "find_tasks",
            "fit_several",
            "judged_labels",
            "label_table",
            "leaning",
            "masked_cross_entropy",
            "within_labels",
        ],
        "train": ["Images", "fit"],
    },
)
