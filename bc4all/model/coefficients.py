"""A linear model's coefficients in half the memory: of text they are nearly all of a model."""

from typing import Any

import numpy as np

from bc4all.model.margins import MarginClassifier
from bc4all.model.preprocessing import split_columns


def narrowed(model: Any) -> Any:
    """Return the same fitted model, its coefficients float32, where it is a linear one behind columns; else as it is.

    The numbers that columns make are between 0 and 1, or scaled. Those that a client's files hold may be of any size,
    and margins of large numbers need float64; their coefficients are few.
    """
    from sklearn.linear_model._base import LinearClassifierMixin  # private, but what all its linear classifiers are

    columns, classifier = split_columns(model)
    if isinstance(classifier, MarginClassifier):
        classifier = classifier.classifier_
    found = vars(classifier).get("coef_") if isinstance(classifier, LinearClassifierMixin) else None
    if columns is not None and isinstance(found, np.ndarray):
        classifier.coef_ = found.astype(np.float32)
    return model
