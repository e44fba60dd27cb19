"""Categories of titles with scikit-learn's linear SVM over characters 1 to 4: `TRAINING TEST ANSWERS`.

Reads parquet with `title`, and of the training part `category_id`; writes a category for each title of the test part,
and prints the seconds from the read titles to the fitted model.
"""

import sys
import time

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

if __name__ == "__main__":
    training, test = (pd.read_parquet(file) for file in sys.argv[1:3])
    started = time.perf_counter()
    model = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 4)), LinearSVC())
    model.fit(training["title"], training["category_id"])
    print(time.perf_counter() - started)
    pd.DataFrame({"category_id": model.predict(test["title"])}).to_parquet(sys.argv[3])
