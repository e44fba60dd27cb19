"""A client's tuned model lies in a file of its own, between the defaults and what people wrote."""

import math
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bc4all.cli.main import main
from bc4all.config.fleet_file import load_fleet
from bc4all.config.model_settings import BlendSettings
from bc4all.config.tuned import as_yaml, check_writable, read_tuned, write_tuned
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
FLEET = """\
# Ours.
defaults: {features: [f0, f1], model_params: {n_estimators: 7}}
clients:
  a:
  b: {max_quarantine: 0.25}
  own: {model: sklearn.naive_bayes.GaussianNB}
  params: {model_params: {n_estimators: 3}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of four clients, a line of it people's own."""
    file = tmp_path / "clients.yaml"
    file.write_text(FLEET)
    return file


def test_takes_the_place_of_the_defaults(config: Path) -> None:
    """The client has the model and none of the defaults' parameters; others, and people's file, stay as they were."""
    before = load_fleet(config)
    for day in ("2026-01-01", "2026-02-01"):
        write_tuned(config, "b", as_yaml(MODEL, f"tuned {day}"))
    after = load_fleet(config)
    assert (after.clients["b"].model, after.clients["b"].model_params) == (MODEL, {})
    assert after.clients["b"].max_quarantine == 0.25
    assert after.clients["b"].sha != before.clients["b"].sha
    assert {name: one for name, one in after.clients.items() if name != "b"} == {
        name: one for name, one in before.clients.items() if name != "b"
    }
    assert config.read_text() == FLEET
    assert [file.name for file in (config.parent / "tuned").iterdir()] == ["b.yaml"]
    assert "# tuned 2026-02-01\n" in (config.parent / "tuned" / "b.yaml").read_text()


@pytest.mark.parametrize(("client_id", "key"), [("own", "model"), ("params", "model_params")])
def test_an_own_model_hides_the_tuned_one(config: Path, client_id: str, key: str) -> None:
    """What people say of a client comes first; `bc4all check` says what it hides."""
    before = load_fleet(config).clients[client_id]
    file = write_tuned(config, client_id, as_yaml(MODEL, "tuned"))
    fleet = load_fleet(config)
    assert fleet.clients[client_id] == before
    assert fleet.own_models[client_id] == (key,)
    printed = CliRunner().invoke(main, ["check", "--config", str(config)]).output
    assert f"{client_id}: {MODEL.name}, tuned ({file}), hidden by {key} of its entry" in printed


def test_check_shows_tuned_models(config: Path) -> None:
    """Each that is in force, and the files of a client that is gone, and of a name that is no client's."""
    file = write_tuned(config, "a", as_yaml(MODEL, "tuned"))
    stray = write_tuned(config, "gone", as_yaml(MODEL, "tuned"))
    copy = stray.rename(stray.with_name("a (copy).yaml"))
    write_tuned(config, "gone", as_yaml(MODEL, "tuned"))
    printed = CliRunner().invoke(main, ["check", "--config", str(config)]).output
    assert f"a: ExtraTreesClassifier + LogisticRegression, temperature, tuned ({file})\n" in printed
    for unused in (stray, copy):
        assert f"{unused} is of no client of {config}\n" in printed


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "holds no model"),
        ("model: ", "holds no model"),
        ("a", "1:1: this must be a mapping"),
        ("model: {blend: []}", "1:9: model.blend: "),
        ("model: auto", "model: "),
        (
            "# x\nmodel:\n  blend:\n    - {classifier: x, wieght: 2}\n",
            "4:23: unknown key 'wieght', did you mean 'weight'",
        ),
        ("modle: {}", "1:1: unknown key 'modle', did you mean 'model'"),
        ("model: {blend: [{classifier: os.system}]}", "scikit-learn lists no classifier 'os.system'"),
        ("model: [", "this is not YAML"),
    ],
)
def test_faults_are_told_with_their_place(config: Path, content: str, fault: str) -> None:
    """Whatever the file holds, it is named, and the client's entry beside it."""
    file = config.parent / "tuned" / "b.yaml"
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_fleet(config)
    assert f"{config}:5:3: " in str(caught.value)
    assert str(file) in str(caught.value)
    assert fault in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_model_that_does_not_go_with_the_features_is_refused(config: Path) -> None:
    """As when people change a client's features after it was tuned."""
    file = write_tuned(config, "a", as_yaml(MODEL, "tuned"))
    config.write_text("defaults: {features: [{name: title, kind: text}]}\nclients: {a: }\n")
    with pytest.raises(ConfigurationError, match="only numbers are transformed") as caught:
        load_fleet(config)
    assert f"{config}:2:11: {file}: " in str(caught.value)
    assert "remove the file, or name a model in the client's own entry" in str(caught.value)
    assert caught.value.exit_code == 2


_NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.booleans() | st.none()
_VALUES = st.recursive(_NUMBERS | st.text(max_size=20), lambda some: st.lists(some, max_size=3), max_leaves=5)


@given(params=st.dictionaries(st.text(min_size=1, max_size=10), _VALUES, max_size=4), weight=st.floats(1e-9, 1e9))
def test_comes_back_as_it_was(params: dict[str, object], weight: float) -> None:
    """Any parameters, written and read as YAML, are the same."""
    model = BlendSettings.model_validate({"blend": [{"classifier": "x", "params": params, "weight": weight}]})
    found = BlendSettings.model_validate(yaml.safe_load(as_yaml(model, "tuned"))["model"])
    assert found == model
    assert math.isclose(found.blend[0].weight, weight, rel_tol=0)


def test_a_folder_that_cannot_be_written_is_told_first(config: Path) -> None:
    """Before the search; and nothing is made by asking."""
    check_writable(config)
    assert not (config.parent / "tuned").exists()
    with pytest.raises(ConfigurationError, match="leave --write out"):
        check_writable(config.parent / "none" / "clients.yaml")
    (config.parent / "tuned").write_text("a file")
    with pytest.raises(ConfigurationError, match="leave --write out"):
        check_writable(config)
    with pytest.raises(ConfigurationError, match=r"a\.yaml cannot be written"):
        write_tuned(config, "a", "model:")


def test_there_may_be_none(config: Path) -> None:
    """As for most clients."""
    assert read_tuned(config, "a") is None


def test_a_write_that_fails_leaves_the_old_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads meanwhile sees the old model or the new one, whole; nothing else lies in the folder."""
    file = write_tuned(config, "a", "old")

    def dies(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        write_tuned(config, "a", "new")
    assert [(one.name, one.read_text()) for one in file.parent.iterdir()] == [("a.yaml", "old")]


def test_a_linked_configuration_has_what_lies_beside_the_link(config: Path, tmp_path: Path) -> None:
    """As a mounted one is often a link: asked, written and read in one folder."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "linked.yaml"
    link.symlink_to(config)
    check_writable(link)
    file = write_tuned(link, "a", as_yaml(MODEL, "tuned"))
    assert file.parent.parent == link.parent
    assert load_fleet(link).clients["a"].model == MODEL
    assert load_fleet(config).tuned == {}
