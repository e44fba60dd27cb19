"""`bc4all why` of a model that a train job has registered."""

import re
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bc4all.cli.main import main
from bc4all.config.clients import Client
from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.data.sample_data import TITLE, write_sample_data
from bc4all.identity import ClientId
from bc4all.jobs.context import JobContext
from bc4all.jobs.train_job import train
from bc4all.registry.versions import Registry

FEATURES = [{"name": TITLE, "kind": "text"}]


def why(*words: str) -> Result:
    return CliRunner().invoke(main, ["why", "--client-id", "client_0", *words], env={"COLUMNS": "200"})


def numbers(row: str) -> list[float]:
    return [float(number) for number in re.findall(r"[+-]?\d+\.\d+", row)]


def test_words_add_up_to_the_score_that_the_champion_gives(job: JobContext, prefix: Path) -> None:
    """A row a word, in the title's order, whose sum has the score of the registered model; markup is text."""
    list(write_sample_data(prefix, clients=1, rows=300, seed=1, categories=4, titles=True))
    train(job, Client(id=ClientId("client_0"), features=FEATURES, model=TEXT_MODEL))
    (file,) = (prefix / "train" / "client_id=client_0").iterdir()
    words = ["[red]", *dict.fromkeys(pd.read_csv(file)[TITLE][0].split())]
    done = why(" ".join(words))
    assert done.exit_code == 0, done.output
    rows = [row.split("│")[1:-1] for row in done.output.splitlines() if row.startswith("│")]
    assert [row[0].strip() for row in rows] == [*(word.lower() for word in words), "all else", "sum", "score"]
    columns = list(zip(*(map(float, row[1:]) for row in rows), strict=True))
    registry: Registry = job.registry
    loaded = registry.load(ClientId("client_0"), registry.find(ClientId("client_0")))
    scores = sorted(loaded.model.predict_proba(pd.DataFrame({TITLE: [" ".join(words)]}))[0], reverse=True)
    for column, score in zip(columns, scores, strict=False):
        assert sum(column[:-2]) == pytest.approx(column[-2], abs=0.005 * len(column))
        assert column[-1] == pytest.approx(score, abs=0.001)
    assert why("one", "two").exit_code == 2
    assert f"1 feature, {TITLE}" in why("one", "two").output


@pytest.mark.starts_from("published_sample")
def test_a_forests_answers_are_no_sums_over_words(prefix: Path) -> None:
    """It says so, and what can be looked at instead; a value that is no number is named."""
    done = why("1", "2", "3", "4", "5")
    assert (done.exit_code, "RandomForestClassifier is no linear model over text" in done.output) == (1, True)
    assert "f1 is a number, and 'blue' is none" in why("1", "blue", "3", "4", "5").output
