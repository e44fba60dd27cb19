"""Categories of titles with fastText, over words and their characters: `TRAINING TEST ANSWERS`, as `with_linear_svc`.

Words, their pairs and their characters; as many epochs as few titles need; two threads.
"""

import sys
import tempfile
import time
from pathlib import Path

import fasttext  # type: ignore[import-not-found]
import pandas as pd

if __name__ == "__main__":
    training, test = (pd.read_parquet(file) for file in sys.argv[1:3])
    titles = [" ".join(title.lower().split()) for title in training["title"]]
    names, codes = training["category_id"].factorize()[::-1]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "titles.txt"
        lines.write_text("".join(f"__label__{code} {title}\n" for code, title in zip(codes, titles, strict=True)))
        model = fasttext.train_supervised(
            str(lines), lr=1.0, epoch=50, wordNgrams=2, minn=2, maxn=5, dim=100, thread=2, verbose=0
        )
    print(time.perf_counter() - started)
    found = [model.f.predict(" ".join(title.lower().split()) + "\n", 1, 0.0, "strict") for title in test["title"]]
    answers = [names[int(label.removeprefix("__label__"))] for ((_, label),) in found]
    pd.DataFrame({"category_id": answers}).to_parquet(sys.argv[3])
