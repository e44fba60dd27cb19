"""A tuned model in the configuration file: everything else stays as people wrote it."""

import json
from pathlib import Path

import pytest
import yaml

from bc4all.config.config_writer import as_yaml, check_writable, note, write_model
from bc4all.config.fleet_file import load_fleet
from bc4all.config.model_settings import BlendSettings
from bc4all.errors import ConfigurationError

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
        write_model(file, client_id, MODEL, note(day, 1.7, 2.0, 0.8))
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
    assert "# tuned 2026-02-01: log-loss 1.700, before 2.000, top-5 0.800" in text
    assert [path.name for path in tmp_path.iterdir()] == ["clients.yaml"]


OTHERS = """\
defaults:
    features:
        - f0
        - "f1"
    model_params: {n_estimators: 7}
clients:
    # ours
    1001:
    b: ~
    c:
        max_quarantine: 0.2 # tuned by hand, ask Ann

    # the last one
    true: {enabled: false}"""


@pytest.mark.parametrize("client_id", ["1001", "b", "c", "true"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_not_a_letter_of_others_is_changed(client_id: str, end: str, tmp_path: Path) -> None:
    """Whatever a file's indentation, lists, ids and line ends are like, and without an end of the last one."""
    file = tmp_path / "clients.yaml"
    file.write_bytes(OTHERS.replace("\n", end).encode())
    change = write_model(file, client_id, MODEL, note("2026-01-01", 1.7, None, 0.8))
    assert load_fleet(file).clients[client_id].model == MODEL
    old, new = OTHERS.split("\n"), file.read_bytes().decode().split(end)
    mine = {"1001": ["    1001:"], "b": ["    b: ~"], "true": ["    true: {enabled: false}"]}.get(client_id, [])
    assert [line for line in old if line not in new and line not in mine] == []
    assert "ask Ann" in "".join(new)
    assert not [line for line in change.splitlines() if line[:1] == "-" and line[1:3] != "--" and line[1:] not in mine]


def test_what_two_clients_share_is_not_changed(tmp_path: Path) -> None:
    """An entry that is another's, too, by an anchor, is left to people: both would change."""
    file = tmp_path / "clients.yaml"
    for text in (
        "defaults: {features: [f0]}\nclients:\n  a: &x {max_quarantine: 0.1}\n  b: *x\n",
        "defaults: {features: [f0]}\nclients: {a: &x {max_quarantine: 0.1}, b: *x}\n",
    ):
        file.write_text(text)
        for client_id in ("a", "b"):
            with pytest.raises(
                ConfigurationError,
                match=r"(?s)(cannot be changed|would change others|undefined alias).*write it by hand",
            ):
                write_model(file, client_id, MODEL, "tuned")
            assert file.read_text() == text


def test_a_file_on_one_line_is_written_anew(tmp_path: Path) -> None:
    """JSON is YAML: such a file says the same afterwards, but for the client."""
    file = tmp_path / "clients.yaml"
    file.write_text(json.dumps({"defaults": {"features": ["f0"]}, "clients": {"a": None, "b": {"enabled": False}}}))
    for client_id in ("a", "b"):
        write_model(file, client_id, MODEL, "tuned")
    assert {client.model_name for client in load_fleet(file).clients.values()} == {MODEL.name}


def test_a_file_that_is_not_to_be_written_is_not(tmp_path: Path) -> None:
    """It is asked before the search begins."""
    file = tmp_path / "clients.yaml"
    file.write_text(TEXT)
    check_writable(file)
    with pytest.raises(ConfigurationError, match="cannot be replaced"):
        check_writable(tmp_path / "none" / "clients.yaml")


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
    for client_id in ("a", "1001", "true", "1e5"):
        said = yaml.safe_load(as_yaml(client_id, MODEL, "tuned"))
        assert BlendSettings.model_validate(said["clients"][client_id]["model"]) == MODEL


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
