"""What stands before a classifier where features are not numbers alone: scikit-learn's own parts, kept with the model.

The whole, a Pipeline, is what is fitted, registered and asked, so that training and scoring cannot differ. Words and
values that training has not seen are taken for what they are: nothing known.
"""

from typing import Any

from bc4all.kinds import CATEGORY, NUMERIC, TEXT, Features, all_numeric

_MAX_TERMS = 200_000  # a shop of 2,000 products has half of it; a coefficient of each is kept for each category


def with_preprocessing(classifier: Any, features: Features) -> Any:
    """Return the unfitted classifier behind what turns each kind of column into numbers.

    Itself where all are numbers.
    """
    if all_numeric(features):
        return classifier
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    from bc4all.model.forest import is_forest  # with its kernel, which the command line need not wait for

    unprepared = sorted(set(features.values()) - {NUMERIC, CATEGORY, TEXT})
    if unprepared:  # a ColumnTransformer would drop their columns in silence
        raise ValueError(f"nothing prepares features of kind {', '.join(unprepared)}")
    texts = [name for name, kind in features.items() if kind == TEXT]
    trees = is_forest(classifier) and not texts
    sparse = takes_sparse(classifier) and not trees
    parts: list[tuple[str, Any, Any]] = [(f"text {place}", _text(), name) for place, name in enumerate(texts)]
    if len(texts) > 1:
        parts.append(("texts", _text(together=True), texts))
    for label, kind, part in (("categories", CATEGORY, _categories(sparse, trees)), ("numbers", NUMERIC, _numbers())):
        columns = [name for name in features if features[name] == kind]
        if columns:
            parts.append((label, part, columns))
    columns = ColumnTransformer(parts, sparse_threshold=1.0 if sparse else 0.0)
    return Pipeline([("columns", columns), ("classifier", classifier)])


def split_columns(model: Any) -> tuple[Any, Any]:
    """Return what makes numbers in a model of `with_preprocessing`, None where nothing does, and its classifier."""
    steps = getattr(model, "named_steps", {})
    return (steps["columns"], steps["classifier"]) if list(steps) == ["columns", "classifier"] else (None, model)


def takes_sparse(classifier: Any) -> bool:
    """Return whether the classifier takes what text becomes: very many columns, nearly all of them zero in a row."""
    return bool(classifier.__sklearn_tags__().input_tags.sparse)


def _text(together: bool = False) -> Any:
    from bc4all.model.text import JoinedVectorizer, TitleVectorizer

    vectorizer = JoinedVectorizer if together else TitleVectorizer
    # Characters, over the ends of words, too: brands, models and sizes are spelled, and parted, in many ways. Rare ones
    # weigh no more than others: in a title, what is rare is the model's number.
    return vectorizer(analyzer="char", ngram_range=(1, 4), use_idf=False, max_features=_MAX_TERMS)


def _categories(sparse: bool, trees: bool) -> Any:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    if trees:  # a column for each value would be a dense matrix, and trees can do with one for all
        return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return OneHotEncoder(handle_unknown="ignore", sparse_output=sparse)


def _numbers() -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # That a number is missing can tell something, too.
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
    )
