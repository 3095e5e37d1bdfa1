"""Radiographs from another hospital: what they cost, how one notices, and what can be repaired."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "acquisition": ["Site"],
        "harmonize": ["Harmonizer"],
        "hospital": ["Hospital"],
        "predictions": ["Predictions"],
    },
)
