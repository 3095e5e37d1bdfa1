"""From a folder to a fitted network: configurations, the two training loops, their losses and augmentation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "baselines": ["metadata_scores"],
        "config": ["TrainConfig", "StudyConfig", "FineTuneConfig"],
        "features": ["whole_features"],
        "finetune": ["fit_localizer"],
        "folds": ["train_folds"],
        "leaks": ["leak_by_slice"],
        "losses": ["focal_loss", "peak_loss"],
        "multilabel": ["Tasks", "masked_cross_entropy"],
        "runs": ["train_folder"],
        "train": ["Images", "fit"],
    },
)
