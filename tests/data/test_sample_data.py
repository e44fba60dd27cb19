"""Made-up clients: equal for equal seeds, shaped like the real ones, never over somebody's data."""

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from bc4all.config.estimators import build_member
from bc4all.config.model_defaults import TEXT_MODEL
from bc4all.data import sample_data
from bc4all.data.sample_data import FEATURES, TITLE, write_sample_data
from bc4all.errors import DataError


def digests(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*.csv.gz")}


def read(folder: Path, kind: str = "train", number: int = 0) -> pd.DataFrame:
    file = folder / kind / f"client_id=client_{number}" / f"data_{kind.replace('ion', '')}.csv.gz"
    return pd.read_csv(file, dtype={"product_id": str, "category_id": str})


def test_a_client_depends_on_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    """Client 1 is the same file, byte for byte, among two clients and among three; another seed makes another one."""
    for folder, clients, seed in (("two", 2, 7), ("three", 3, 7), ("other", 2, 8)):
        list(write_sample_data(tmp_path / folder, clients, 300, seed))
    two, three, other = (digests(tmp_path / folder) for folder in ("two", "three", "other"))
    assert two.items() <= three.items()
    assert len(three) == 6 == len(set(three.values()))
    assert not set(two.values()) & set(other.values())


def test_files_are_laid_out_like_the_real_ones(tmp_path: Path) -> None:
    """Same names, same columns, ids like UUIDs that never repeat, categories like c0_2817, no name or time in gzip."""
    assert list(write_sample_data(tmp_path, 1, 2000, 1)) == ["client_0"]
    train, prediction = read(tmp_path), read(tmp_path, "prediction")
    assert list(train) == ["product_id", "category_id", *FEATURES]
    assert list(prediction) == ["product_id", *FEATURES]
    assert len(train) == len(prediction) == 2000
    ids = pd.concat([train.product_id, prediction.product_id])
    assert ids.is_unique
    assert ids.str.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").all()
    assert train.category_id.str.fullmatch(r"c0_\d+").all()
    assert train[list(FEATURES)].abs().mean().between(0.01, 0.2).all()
    head = (tmp_path / "train" / "client_id=client_0" / "data_train.csv.gz").read_bytes()[:10]
    assert (head[3], head[4:8]) == (0, bytes(4))  # RFC 1952: flags (a name would set FNAME) and time


def test_chunks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond one chunk follow the first ones: one header, no row lost, none cut."""
    monkeypatch.setattr(sample_data, "_CHUNK", 70)
    list(write_sample_data(tmp_path, 1, 211, 1))
    with gzip.open(tmp_path / "train" / "client_id=client_0" / "data_train.csv.gz", "rt") as file:
        lines = file.read().splitlines()
    assert len(lines) == 212
    assert {line.count(",") for line in lines} == {6}
    assert sum(line.startswith("product_id") for line in lines) == 1


@pytest.mark.parametrize("categories", [2, 3, 200])
def test_has_as_many_categories_as_asked_for(tmp_path: Path, categories: int) -> None:
    """A benchmark says how many categories there are."""
    list(write_sample_data(tmp_path, 1, 20_000, 1, categories))
    assert read(tmp_path).category_id.nunique() == categories


def test_categories_are_as_many_and_as_skewed_as_real_ones(tmp_path: Path) -> None:
    """15 to 62 categories a client, and the largest is several times the middle one."""
    for number, _ in enumerate(write_sample_data(tmp_path, 6, 5000, 3)):
        sizes = read(tmp_path, number=number).category_id.value_counts()
        assert 15 <= len(sizes) <= 62
        assert sizes.max() > 3 * sizes.median()


def test_refuses_a_folder_with_data_and_leaves_everything_alone(tmp_path: Path) -> None:
    """Where one client has data already, nothing of any client is written, and the message says what to do."""
    theirs = tmp_path / "prediction" / "client_id=client_2" / "own.csv"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("product_id\n")
    with pytest.raises(DataError, match=rf"{re.escape(str(theirs.parent))} holds data already.*--out"):
        list(write_sample_data(tmp_path, 3, 100, 1))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [theirs]


def test_an_empty_folder_is_no_obstacle(tmp_path: Path) -> None:
    """A partition's folder without a file is filled."""
    (tmp_path / "train" / "client_id=client_0").mkdir(parents=True)
    list(write_sample_data(tmp_path, 1, 100, 1))
    assert len(read(tmp_path)) == 100


def test_titles_are_of_categories_that_are_paths(tmp_path: Path) -> None:
    """As many as asked for, of three levels, skewed; a title for each product, seldom twice; equal for equal seeds."""
    for folder in ("one", "again"):
        list(write_sample_data(tmp_path / folder, 1, 20_000, 1, 100, titles=True))
    assert digests(tmp_path / "one") == digests(tmp_path / "again")
    train, prediction = read(tmp_path / "one"), read(tmp_path / "one", "prediction")
    assert list(train) == ["product_id", "category_id", "title"]
    assert list(prediction) == ["product_id", "title"]
    assert train.title.str.len().between(3, 80).all()
    assert train.title.duplicated().mean() < 0.1
    sizes = train.category_id.value_counts()
    assert len(sizes) == 100
    assert sizes.max() > 3 * sizes.median()
    levels = train.category_id.str.split(" > ", expand=True)
    assert [levels[level].nunique() for level in range(3)] == [3, 13, 100]


@pytest.mark.slow
def test_the_default_model_is_good_and_not_perfect_for_titles(tmp_path: Path) -> None:
    """Some titles name no category, or another one; the rest can be learned, though none was met before."""
    list(write_sample_data(tmp_path, 1, 4000, 1, 40, titles=True))
    train, test = train_test_split(read(tmp_path), test_size=0.1, random_state=1234)
    model = build_member(TEXT_MODEL.blend[0], {TITLE: "text"}).fit(train[[TITLE]], train["category_id"])
    assert 0.8 < (model.predict(test[[TITLE]]) == test["category_id"]).mean() < 0.99


@pytest.mark.slow
def test_of_paths_more_truths_are_among_the_five_best(tmp_path: Path) -> None:
    """Where a client says what stands between the parts; as many are best, give or take three of 600."""
    list(write_sample_data(tmp_path, 1, 3000, 1, 200, titles=True))
    train, test = train_test_split(read(tmp_path), test_size=0.2, random_state=1234)
    truth, scores = test["category_id"].to_numpy()[:, None], []
    for separator in (None, ">"):
        model = build_member(TEXT_MODEL.blend[0], {TITLE: "text"}, separator).fit(train[[TITLE]], train["category_id"])
        best = model.classes_[np.argsort(-model.predict_proba(test[[TITLE]]), axis=1)[:, :5]]
        scores.append(((best[:, :1] == truth).mean(), (best == truth).any(axis=1).mean()))
    assert scores[1][0] == pytest.approx(scores[0][0], abs=0.005)
    assert scores[1][1] > scores[0][1] + 0.005


@pytest.mark.slow
def test_a_default_forest_is_good_and_not_perfect(tmp_path: Path) -> None:
    """Plain scikit-learn's default forest reaches a top-5 accuracy between 0.7 and 0.95 with 5,000 products."""
    for number, client_id in enumerate(write_sample_data(tmp_path, 3, 5000, 2)):
        train, test = train_test_split(read(tmp_path, number=number), test_size=0.1, random_state=1234)
        model = RandomForestClassifier(random_state=1234, n_jobs=2).fit(train[list(FEATURES)], train["category_id"])
        best = model.classes_[np.argsort(-model.predict_proba(test[list(FEATURES)]), axis=1)[:, :5]]
        assert 0.7 < (best == test["category_id"].to_numpy()[:, None]).any(axis=1).mean() < 0.95, client_id
