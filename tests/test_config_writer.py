"""A tuned model in the configuration file: everything else stays as people wrote it."""

from pathlib import Path

import pytest
import yaml

from bc4all.config import load_fleet
from bc4all.config_writer import as_yaml, with_model, write_model
from bc4all.errors import ConfigurationError
from bc4all.model_settings import BlendSettings

MODEL = BlendSettings.model_validate(
    {
        "blend": [
            {"classifier": "sklearn.ensemble.ExtraTreesClassifier", "params": {"max_features": None}, "weight": 2.0},
            {
                "classifier": "sklearn.linear_model.LogisticRegression",
                "transform": [
                    "sklearn.preprocessing.StandardScaler",
                    {"sklearn.preprocessing.PolynomialFeatures": {"degree": 3}},
                ],
            },
        ],
        "calibrate": "temperature",
    }
)
TEXT = """\
# The fleet.
defaults: {features: [f0, "f1"], model_params: {n_estimators: 7}}  # of all

clients:
  # the first one
  a:
  b: {max_quarantine: 0.25}   # careful
  c:  # long since
    model_params:
      n_estimators: 3  # too few?
    # about drift
    drift: {psi: 0.3}

  d: {enabled: false}
scheduler: {max_parallel: 3}
"""


@pytest.mark.parametrize("client_id", ["a", "b", "c", "d"])
def test_changes_one_client_and_keeps_every_comment(client_id: str, tmp_path: Path) -> None:
    """Read back, the client has the model and all else is equal; no comment is gone, at the second time either."""
    file = tmp_path / "clients.yaml"
    file.write_text(TEXT)
    before = load_fleet(file)
    for day in ("2026-01-01", "2026-02-01"):
        write_model(file, client_id, MODEL, f"tuned {day}")
    text = file.read_text()
    after = load_fleet(file)
    assert after.clients[client_id].model == MODEL
    kept = {"model", "model_params"}
    for name, client in before.clients.items():
        assert client.model_dump(exclude=kept) == after.clients[name].model_dump(exclude=kept)
        if name != client_id:
            assert client == after.clients[name]
    for comment in ("The fleet.", "of all", "the first one", "careful", "long since", "about drift"):
        assert text.count(f"# {comment}") == 1
    assert "too few?" in text
    assert text.count("# tuned") == 1
    assert "# tuned 2026-02-01" in text
    assert [path.name for path in tmp_path.iterdir()] == ["clients.yaml"]


def test_says_what_changed() -> None:
    """The lines of other clients are not even touched."""
    old, new = TEXT.splitlines(), with_model(TEXT, "a", MODEL, "tuned").splitlines()
    assert [line for line in old if line not in new] == []


def test_a_diff_is_returned(tmp_path: Path) -> None:
    """What people review: added lines, with the file's name."""
    file = tmp_path / "clients.yaml"
    file.write_text(TEXT)
    change = write_model(file, "a", MODEL, "tuned")
    added = [line for line in change.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert added[0] == "+    model:  # tuned"
    assert not [line for line in change.splitlines() if line.startswith("-") and not line.startswith("---")]


def test_printed_it_is_a_configuration() -> None:
    """What is printed where nothing is written says the same."""
    said = yaml.safe_load(as_yaml("a", MODEL, "tuned"))
    assert BlendSettings.model_validate(said["clients"]["a"]["model"]) == MODEL


def test_a_file_that_would_not_do_stays_as_it_was(tmp_path: Path) -> None:
    """Where the changed file has a fault, the fault is told, and the old file is there."""
    file = tmp_path / "clients.yaml"
    text = TEXT.replace('[f0, "f1"]', "[{name: title, kind: text}]").replace(", model_params: {n_estimators: 7}", "")
    file.write_text(text.replace("n_estimators: 3", "C: 3"))
    before = file.read_text()
    with pytest.raises(ConfigurationError, match="only numbers are transformed"):
        write_model(file, "a", MODEL, "tuned")
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["clients.yaml"]
