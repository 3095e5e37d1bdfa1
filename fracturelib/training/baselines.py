"""What a classifier must beat: scores from everything but the picture."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from fracturelib._io.files import InputError

# Known before anybody looks for a fracture. What only a reader of the image can say (the type of fracture, the bone,
# how many) would give the answer away.
METADATA = ("region", "view", "side", "sex", "age_group", "hardware", "cast", "multiscan", "width", "height")


def metadata_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of `METADATA` that a manifest has."""
    return [c for c in METADATA if c in frame.columns]


def metadata_model(frame: pd.DataFrame) -> Pipeline:
    """Gradient-boosted trees on the columns of `metadata_columns`, text as categories; not fitted yet."""
    columns = metadata_columns(frame)
    if not columns:
        raise InputError(f"frame: has none of the columns {', '.join(METADATA)}; expected at least one")
    text = [c for c in columns if not pd.api.types.is_numeric_dtype(frame[c])]
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    transform = make_column_transformer((encode, text), ("passthrough", [c for c in columns if c not in text]))
    trees = HistGradientBoostingClassifier(max_iter=100, max_depth=4, learning_rate=0.05, random_state=0)
    return make_pipeline(transform, trees)


def metadata_scores(train: pd.DataFrame, other: pd.DataFrame) -> NDArray[np.float64]:
    """P(Fractured) of the rows of `other` from metadata alone, learnt on `train`: (len(other),) float64 in 0..1."""
    columns = metadata_columns(train)
    model = metadata_model(train).fit(train[columns], train["label"])
    return model.predict_proba(other[columns])[:, 1]
