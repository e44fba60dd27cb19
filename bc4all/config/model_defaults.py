"""Which model a client has where it names none, and which parameters where it gives some of them."""

from typing import Any

from bc4all.config.model_settings import BlendSettings, MemberSettings, as_blend
from bc4all.config.settings import ClientSettings
from bc4all.kinds import TEXT, Features, all_numeric

RANDOM_FOREST = "sklearn.ensemble.RandomForestClassifier"  # of numbers alone
LINEAR_MODEL = "sklearn.linear_model.LogisticRegression"  # of categories, with numbers or without
LINEAR_PARAMS: dict[str, Any] = {"C": 100.0, "class_weight": "balanced", "max_iter": 1000}
# Of text, whatever is beside it: measured in docs/quality.md over 39 shops' titles.
TEXT_MODEL = BlendSettings(
    blend=[
        MemberSettings(
            classifier="sklearn.linear_model.RidgeClassifier",
            params={
                "alpha": 0.2,
                "class_weight": "balanced",
                "tol": 0.1,
            },  # less finds no more: docs/quality.md
        )
    ],
    calibrate="temperature",
)
_EXACT = {"tol": 1e-3}  # where numbers or categories are beside the text, which tell more slowly


def chosen_model(
    defaults: ClientSettings, own: ClientSettings, features: Features
) -> tuple[str | BlendSettings, dict[str, Any]]:
    """Return a client's model and its parameters: its own, the defaults', or the default of its features."""
    shared = default_model(defaults, defaults.features or {})
    model = own.model or default_model(defaults, features)
    # What the defaults say is not of a blend that the client itself puts together, were it the same.
    inherited = {} if model != shared or isinstance(own.model, BlendSettings) else defaults.model_params or {}
    params = {**inherited, **(own.model_params or {})}
    unsaid = own.model is None and defaults.model is None
    return model, {**LINEAR_PARAMS, **params} if unsaid and model == LINEAR_MODEL else params


def default_model(defaults: ClientSettings, features: Features) -> str | BlendSettings:
    """Return what a client of these features has that names no model."""
    if defaults.model:
        return defaults.model
    # A forest would be kept as scikit-learn's own, hundreds of megabytes, over text.
    if TEXT in features.values():
        return text_model(features)
    return RANDOM_FOREST if all_numeric(features) else LINEAR_MODEL


def text_model(features: Features) -> BlendSettings:
    """Return the default of clients with text."""
    if set(features.values()) == {TEXT}:
        return TEXT_MODEL
    return as_blend(TEXT_MODEL, _EXACT)
