"""Training products whose label is probably wrong, by confident learning over what a model answers for unseen ones.

A category's threshold is the mean probability that its own products have of it, 0.8 at most. A product is a suspect
where the best answer is another category than its label, and reaches that category's threshold (Northcutt, Jiang and
Chuang, Confident learning: Estimating uncertainty in dataset labels, 2021).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
import pyarrow as pa

from bc4all.errors import ModelError
from bc4all.kinds import TEXT, Features
from bc4all.model.features import joined, rows_at
from bc4all.model.training_set import TrainingSet
from bc4all.wording import inert

FILE = "suspects.json"  # of a training's run
_MIN_PRODUCTS = 10  # of a category that is blamed or suggested: of fewer, a model knows little
_MAX_THRESHOLD = 0.8  # where a model is nearly always right, half of the wrong labels stay below the mean
_MAX_KEPT = 1_000  # suspects that a run keeps
_MAX_COMPARED = 2_000  # products of a category among which the most similar one is looked for
_MAX_TITLE_CHARS = 300  # of a title that are compared and kept: what names a product stands before
_SEED = 1234


@dataclass(frozen=True)
class Suspect:
    """A product, its label and the category that is suggested instead, with the probabilities of both.

    `title` is the product's text features, and `similar` that of the suggested category's product that is most like
    it; both are empty where the client has no such feature.
    """

    product_id: str
    label: str
    label_score: float
    suggested: str
    suggested_score: float
    title: str
    similar: str


_NAMES = [field.name for field in fields(Suspect)]


@dataclass(frozen=True)
class Suspects:
    """The suspects of a training, the most certain first.

    `count` of them were found among `asked` of all `products`; `suspects` are the first of them. `small` categories had
    too few products among those to be blamed or suggested.
    """

    products: int
    asked: int
    small: int
    count: int
    suspects: tuple[Suspect, ...]

    def stored(self) -> bytes:
        """Return it as a file."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode()

    def csv(self) -> str:
        """Return a line a suspect, below the names of the columns."""
        table = pd.DataFrame([asdict(one) for one in self.suspects], columns=_NAMES)
        texts = [name for name in _NAMES if not name.endswith("_score")]
        return table.assign(**{name: table[name].map(inert) for name in texts}).to_csv(index=False)

    @classmethod
    def read(cls, content: bytes) -> "Suspects":
        """Return what `stored` gave. Raises ModelError for anything else."""
        try:
            values = json.loads(content)
            suspects = tuple(Suspect(**one) for one in values.pop("suspects"))
            return cls(suspects=suspects, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"{FILE} is not what a training has written", remedy="train the client again") from error


def find_suspects(data: TrainingSet, features: Features, answers: Sequence[pd.DataFrame]) -> Suspects:
    """Return the suspects among products that a model was asked of without having seen them.

    `answers`: `Evaluation.answers` of some of the products, by their places.
    """
    places = np.concatenate([one.index.to_numpy() for one in answers])
    labels, best = data.codes[places], np.concatenate([_best(data, one) for one in answers])
    of_label = np.concatenate([np.exp(-one["loss"].to_numpy()) for one in answers])
    of_best = np.concatenate([one["score"].to_numpy() for one in answers])
    rows = np.flatnonzero(_is_suspect(labels, best, of_label, of_best, len(data.names)))
    count, rows = len(rows), rows[np.argsort((of_label - of_best)[rows], kind="stable")][:_MAX_KEPT]
    columns = {
        "product_id": data.product_ids.take(pa.array(places[rows])).to_pylist(),
        "label": data.names[labels[rows]].tolist(),
        "label_score": of_label[rows].round(4).tolist(),
        "suggested": data.names[best[rows]].tolist(),
        "suggested_score": of_best[rows].round(4).tolist(),
        "title": _titles(data, features, places[rows]),
        "similar": _most_similar(data, features, places[rows], best[rows]),
    }
    suspects = tuple(Suspect(*values) for values in zip(*(columns[name] for name in _NAMES), strict=True))
    small = int((np.bincount(labels, minlength=len(data.names)) < _MIN_PRODUCTS).sum())
    return Suspects(len(data.codes), len(places), small, count, suspects)


def _best(data: TrainingSet, answers: pd.DataFrame) -> np.ndarray:
    """Return the code of each answer's best category."""
    predicted = answers["predicted"].cat
    return np.searchsorted(data.names, predicted.categories.to_numpy(object))[predicted.codes]


def _is_suspect(
    labels: np.ndarray, best: np.ndarray, of_label: np.ndarray, of_best: np.ndarray, categories: int
) -> np.ndarray:
    """Return whether each product is one, by the codes of its label and of its best answer, and both probabilities."""
    products = np.bincount(labels, minlength=categories)
    means = np.bincount(labels, weights=of_label, minlength=categories) / np.maximum(products, 1)
    thresholds, enough = np.minimum(means, _MAX_THRESHOLD), products >= _MIN_PRODUCTS
    return np.asarray((labels != best) & (of_best >= thresholds[best]) & enough[labels] & enough[best])


def _titles(data: TrainingSet, features: Features, places: np.ndarray) -> list[str]:
    """Return the text features of some products, each as one text."""
    names = [name for name, kind in features.items() if kind == TEXT]
    if not names or not isinstance(data.X, pd.DataFrame):
        return [""] * len(places)
    return [title[:_MAX_TITLE_CHARS] for title in joined(rows_at(data.X, places)[names], " · ")]


def _most_similar(data: TrainingSet, features: Features, places: np.ndarray, suggestions: np.ndarray) -> list[str]:
    """Return, for each suspect, the title of its suggested category that shares most of its n-grams, by TF-IDF."""
    similar = [""] * len(places)
    if TEXT not in features.values():
        return similar
    from bc4all.model.text import TextVectorizer

    rng = np.random.default_rng(_SEED)
    for code in np.unique(suggestions):
        own, others = np.flatnonzero(suggestions == code), np.flatnonzero(data.codes == code)
        if len(others) > _MAX_COMPARED:
            others = np.sort(rng.choice(others, _MAX_COMPARED, replace=False))
        titles, vectorizer = _titles(data, features, others), TextVectorizer(analyzer="char_wb", ngram_range=(1, 4))
        rows = vectorizer.fit_transform(titles)
        nearest = (vectorizer.transform(_titles(data, features, places[own])) @ rows.T).toarray().argmax(axis=1)
        for suspect, other in zip(own, nearest, strict=True):
            similar[suspect] = titles[other]
    return similar
