"""Train a tree of half the heap in a Java of 512 MB: python -m tests.faults.small_heap.

Prints how large the model is, and whether it is the one that scikit-learn fits without Spark.
"""

import os
import pickle
import sys

import numpy as np
from pyspark.sql import SparkSession

from bc4all.learning.blending import planner
from bc4all.learning.tasks import SparkTasks
from bc4all.learning.training import Lesson, Opponent, learn
from bc4all.model.held_out import split
from tests.conftest import make_client, make_training_set

HEAP_MB = 512
ROWS, CATEGORIES = 9_000, 2_000  # a float64 a category in each of some 16,000 nodes
OPTIONS = (
    f"--master local[2] --driver-memory {HEAP_MB}m --conf spark.ui.enabled=false --conf spark.eventLog.enabled=false"
)


def main() -> None:
    """Fit and evaluate it as the train job does."""
    os.environ |= {"PYSPARK_SUBMIT_ARGS": f"{OPTIONS} pyspark-shell", "PYSPARK_PYTHON": sys.executable}
    spark = SparkSession.builder.getOrCreate()
    rng = np.random.default_rng(0)
    codes = (np.arange(ROWS) % CATEGORIES).astype(np.int32)
    data = make_training_set(rng.normal(size=(ROWS, 2)), codes, [f"category {n:04}" for n in range(CATEGORIES)])
    tree = "sklearn.tree.ExtraTreeClassifier"
    client = make_client("x", features=("f0", "f1"), model=tree, model_params={"random_state": 0}, refit=False)
    lesson = Lesson(client.id, client.features, client.model_name, planner(client), refits=False)
    learned = learn(SparkTasks(spark), lesson, data, Opponent())
    from sklearn.tree import ExtraTreeClassifier

    places, _ = split(codes)
    local = ExtraTreeClassifier(random_state=0).fit(data.X[places], data.labels(places))
    size = learned.model.tree_.value.nbytes >> 20  # type: ignore[attr-defined]
    same = pickle.dumps(local.tree_) == pickle.dumps(learned.model.tree_)  # type: ignore[attr-defined]
    print(f"{size} MB, {'the same' if same else 'another'}, right of {learned.training['accuracy']:.2f}")
    spark.stop()


if __name__ == "__main__":
    main()
