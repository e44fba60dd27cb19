"""How fast titles are scored: a client of a million short titles through the whole predict job.

Made-up titles of words that the categories share in part. Beside it, what plain scikit-learn takes for the same
probabilities in one process. Run by `make bench-titles`.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd

from bc4all.config.estimators import build_member
from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.job_kinds import JOB_KINDS, PREDICT
from bc4all.model.linear_text import compiled
from bc4all.starter import read_report
from bench.fleet import submit, write_fleet

_TRAINING, _CATEGORIES, _WORDS = 2000, 10, 400
_SAMPLE = 20_000  # titles that scikit-learn is timed on
_DAY = "2026-01-31"


def titles(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Titles of three to seven words, 4 to 60 letters, and their categories."""
    syllables = np.array(
        ["ka", "lo", "mi", "ster", "tron", "ix", "pad", "gal", "xy", "bo", "ver", "on", "64", "gb", "s"]
    )
    words = np.array(["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(_WORDS)])
    categories = rng.integers(0, _CATEGORIES, rows)
    own = (categories[:, None] * (_WORDS // _CATEGORIES) + rng.integers(0, _WORDS // 4, (rows, 7))) % _WORDS
    lengths = rng.integers(3, 8, rows)
    chosen = words[own]
    made = np.array([" ".join(row[:length]) for row, length in zip(chosen, lengths, strict=True)], dtype=object)
    return made, np.array([f"category {number}" for number in range(_CATEGORIES)], dtype=object)[categories]


@click.command()
@click.option("--rows", type=click.IntRange(1000), default=1_000_000, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True)
def main(rows: int, runs: int) -> None:
    """Train, predict, and print titles a second: of the job, of its phases, of scikit-learn and of the kernel."""
    rng = np.random.default_rng(1)
    made, categories = titles(rows + _TRAINING, rng)
    data = pd.DataFrame({"product_id": np.arange(len(made)).astype(str), "category_id": categories, "title": made})
    features = {"title": "text"}
    model = build_member(TEXT_MODEL.blend[0], features)
    model.fit(data[["title"]][:_TRAINING], categories[:_TRAINING])
    sample, fast = data[["title"]][-_SAMPLE:], compiled(model)
    fast.predict_proba(sample[:10])  # compiled by now
    pairs = [(_seconds(model, sample), _seconds(fast, sample)) for _ in range(runs)]  # alternating
    plain, kernel = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
    click.echo(f"scikit-learn, one process: {_SAMPLE / plain:,.0f} titles/s; compiled: {_SAMPLE / kernel:,.0f}")
    with tempfile.TemporaryDirectory(prefix="bc4all-titles-") as folder:
        prefix = Path(folder)
        parts = {"train": data[:_TRAINING], "prediction": data[_TRAINING:].drop(columns="category_id")}
        for kind, part in parts.items():
            (prefix / kind / "client_id=shop").mkdir(parents=True)
            part.to_parquet(prefix / kind / "client_id=shop" / "data.parquet", index=False, row_group_size=100_000)
        defaults = {"features": [{"name": "title", "kind": "text"}]}
        write_fleet(prefix / "clients.yaml", defaults, ["shop"])
        _submit(prefix, "train")
        took = [_submit(prefix, "predict") for _ in range(runs)]
    job, whole = (statistics.median(run[place] for run in took) for place in (0, 1))
    click.echo(f"the predict job of {rows:,} titles: {job:.1f} s, {rows / job:,.0f} titles/s")
    click.echo(f"from bin/submit.sh to its exit, Spark's start included: {whole:.1f} s, {rows / whole:,.0f} titles/s")


def _seconds(model: object, sample: pd.DataFrame) -> float:
    started = time.perf_counter()
    model.predict_proba(sample)  # type: ignore[attr-defined]
    return time.perf_counter() - started


def _submit(prefix: Path, job: str) -> tuple[float, float]:
    """Run a job; the seconds that it took by its own table, and from start to end."""
    results = prefix / "results.jsonl"
    results.unlink(missing_ok=True)
    started = time.perf_counter()
    words = [JOB_KINDS[job].date_option, _DAY, *(["--force"] if job == PREDICT.name else [])]
    submit(prefix, prefix / "clients.yaml", job, *words, BC4ALL_RESULTS=str(results))
    (result,) = read_report(results).results.values()
    return float(result["seconds"]), time.perf_counter() - started


if __name__ == "__main__":
    main()
