"""conf/clients.yaml: what it means, and how its faults are told."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sklearn.utils
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bc4all.column_names import RESERVED
from bc4all.config.clients import Client
from bc4all.config.fleet_file import load_fleet
from bc4all.config.model_defaults import LINEAR_MODEL, LINEAR_PARAMS, TEXT_MODEL
from bc4all.config.model_settings import as_blend
from bc4all.config.yaml_source import read_yaml
from bc4all.errors import ConfigurationError
from tests.conftest import ROOT

EVERY_FAULT = """\
defaults:
  feature: [a]
  features: [f0, f0]
  max_quarantine: "x"
clients:
  client_0: {enabled: 1}
  client_0: {}
  bad id: {}
  c2: {features: [q], model: sklearn.ensemble.RandomForest, model_params: {n_estimator: 3}}
  c3: {features: [q], model_params: {n_estimator: 3}}
  c4: {features: [q], model_params: {n_estimators: many}}
  c5: {features: [], model: os.system}
  c6: {features: [category_id], model: sklearn.svm.SVC}
  c7: {features: [q], model: sklearn.svm.LinearSVC}
more: 1
"""

TOLD = [
    "2:3: unknown key 'feature', did you mean 'features'?",
    "3:3: features: feature 'f0' is there twice",
    "4:3: max_quarantine: input should be a valid number",
    "6:14: enabled: input should be a valid boolean",
    "7:3: 'client_0' is there twice, first at 6:3",
    "8:3: 'bad id' is not a client id",
    "9:23: scikit-learn lists no classifier 'sklearn.ensemble.RandomForest', did you mean",
    "10:38: RandomForestClassifier takes no parameter 'n_estimator', did you mean 'n_estimators'?",
    "11:38: The 'n_estimators' parameter of RandomForestClassifier must be an int",
    "12:8: features: this must be a list with at least one column's name",
    "12:22: scikit-learn lists no classifier 'os.system'",
    "13:8: features: 'category_id' is no feature",
    "14:23: LinearSVC gives no probabilities",
    "15:1: unknown key 'more'",
]


def write(folder: Path, text: str) -> Path:
    file = folder / "clients.yaml"
    file.write_text(text)
    return file


def test_tells_every_fault_at_once_where_it_stands(tmp_path: Path) -> None:
    """One reading of the file finds all its faults, each with line, column and the word that was meant."""
    file = write(tmp_path, EVERY_FAULT)
    with pytest.raises(ConfigurationError) as caught:
        load_fleet(file)
    lines = str(caught.value).splitlines()
    for expected in TOLD:
        assert any(line.startswith(f"{file}:{expected}") for line in lines), expected


def test_a_client_states_only_what_differs(tmp_path: Path) -> None:
    """Settings come from the defaults unless a client has its own; parameters are merged key by key."""
    fleet = load_fleet(
        write(
            tmp_path,
            """
defaults: {features: [a, b], model_params: {n_estimators: 50, max_depth: 3}, max_quarantine: 0.1}
clients:
  x:
  y: {features: [c], model_params: {max_depth: 4}, enabled: false}
  z: {model: sklearn.naive_bayes.GaussianNB}
""",
        )
    )
    x, y, z = fleet.clients.values()
    assert (list(x.features), x.model_params, x.max_quarantine) == (
        ["a", "b"],
        {"n_estimators": 50, "max_depth": 3},
        0.1,
    )
    assert (list(y.features), y.model_params) == (["c"], {"n_estimators": 50, "max_depth": 4})
    assert (z.model, z.model_params) == ("sklearn.naive_bayes.GaussianNB", {})
    assert [client.id for client in fleet.enabled] == ["x", "z"]
    assert [client.id for client in fleet.select(["y", "x", "y"])] == ["y", "x"]


TITLES = """
defaults: {model_params: {n_estimators: 50}, features: [price]}
clients:
  numbers:
  titles: {features: [{name: title, kind: text}, {name: brand, kind: category}, price]}
  changed: {features: [{name: title, kind: text}], model_params: {alpha: 3.0}}
  brands: {features: [{name: brand, kind: category}]}
  bayes: {features: [{name: title, kind: text}], model: sklearn.naive_bayes.ComplementNB}
"""


def test_features_have_a_kind(tmp_path: Path) -> None:
    """A bare name is numeric; where nobody names a model, text and categories get linear ones, numbers a forest."""
    fleet = load_fleet(write(tmp_path, TITLES))
    numbers, titles, changed, brands, bayes = fleet.clients.values()
    assert (numbers.features, numbers.model_params) == ({"price": "numeric"}, {"n_estimators": 50})
    assert list(titles.features.items()) == [("title", "text"), ("brand", "category"), ("price", "numeric")]
    assert (brands.model, brands.model_params) == (LINEAR_MODEL, LINEAR_PARAMS)
    assert titles.blend == as_blend(TEXT_MODEL, {"tol": 0.001})  # since numbers tell more slowly
    assert changed.model == TEXT_MODEL
    (ridge,) = changed.blend.blend
    assert ridge.params == {**TEXT_MODEL.blend[0].params, "alpha": 3.0}
    assert (bayes.model, bayes.model_params) == ("sklearn.naive_bayes.ComplementNB", {})
    reordered = titles.overridden(["price", "title", "brand"])
    assert list(reordered.features.items()) == [("price", "numeric"), ("title", "text"), ("brand", "category")]
    assert reordered.sha != titles.sha
    assert titles.overridden([{"name": "title", "kind": "category"}]).features == {"title": "category"}


BLENDS = """
defaults: {features: [{name: title, kind: text}], model_params: {alpha: 1.0}}
clients:
  implied:
  wrong: {model_params: {C: 1.0}}
  own: {model: {blend: [{classifier: sklearn.linear_model.RidgeClassifier, params: RIDGE}], calibrate: temperature}}
  many: {model: {blend: [{classifier: sklearn.svm.LinearSVC}, {classifier: MANY}]}, model_params: {alpha: 2.0}}
""".replace("RIDGE", "{alpha: 0.2, class_weight: balanced}").replace("MANY", "sklearn.naive_bayes.MultinomialNB")


def test_a_blend_of_one_has_the_clients_parameters(tmp_path: Path) -> None:
    """Over those of its member, told where they stand; a blend of the client's own has none of the defaults'."""
    with pytest.raises(ConfigurationError) as told:
        load_fleet(write(tmp_path, BLENDS))
    complaints = [line.partition("clients.yaml:")[2] for line in str(told.value).splitlines()]
    assert complaints == [
        "5:26: RidgeClassifier takes no parameter 'C'",
        "7:129: a blend's parameters stand with its members, as `params`",
    ]
    sound = "\n".join(line for line in BLENDS.splitlines() if "wrong" not in line and "many" not in line)
    implied, own = load_fleet(write(tmp_path, sound)).clients.values()
    assert (implied.blend.blend[0].params["alpha"], own.blend.blend[0].params["alpha"]) == (1.0, 0.2)


@pytest.mark.parametrize(
    ("features", "complaint"),
    [
        ("[{name: t, kind: texts}]", "feature 't' is 'texts', which is none of numeric, category, text"),
        ("[{nam: t}]", "{'nam': 't'} is neither a column's name nor {name: …, kind: numeric|category|text}"),
        ("[{name: t, kind: text}, t]", "feature 't' is there twice"),
        ("[[t]]", "['t'] is neither a column's name nor"),
        ("[{name: 3}]", "3 is no column's name"),
        ("t", "this must be a list with at least one column's name"),
    ],
)
def test_says_what_is_wrong_with_features(tmp_path: Path, features: str, complaint: str) -> None:
    """Each fault of a feature is told where `features` stands."""
    with pytest.raises(ConfigurationError) as caught:
        load_fleet(write(tmp_path, f"clients:\n  a: {{features: {features}}}\n"))
    assert f"2:7: features: {complaint}" in str(caught.value)


def test_what_was_meant_for_another_metric_is_not_inherited(tmp_path: Path) -> None:
    """Settings of the gate are merged one by one, unless a client judges by another metric; null takes one back."""
    text = """
defaults:
  {features: [q], promotion: {min_value: 0.7, mode: dry_run}, category_separator: ">", abstain: {precision: 0.9}}
clients:
  same: {promotion: {max_regression: 0.5}}
  other: {promotion: {metric: log_loss}}
  none: {promotion: {min_value: null}, category_separator: null, abstain: null}
"""
    same, other, none = load_fleet(write(tmp_path, text)).clients.values()
    assert (same.promotion.min_value, same.promotion.max_regression, same.promotion.mode) == (0.7, 0.5, "dry_run")
    assert (other.promotion.min_value, other.promotion.metric, other.promotion.mode) == (None, "log_loss", "dry_run")
    assert (none.promotion.min_value, none.category_separator, none.abstain) == (None, None, None)
    assert (same.category_separator, same.abstain and same.abstain.precision) == (">", 0.9)


def test_a_model_that_takes_no_text_is_refused(tmp_path: Path) -> None:
    """Text becomes a sparse matrix, which not every classifier takes: said before anything is trained."""
    model = "sklearn.naive_bayes.GaussianNB"
    text = f"clients:\n  a: {{features: [{{name: t, kind: text}}], model: {model}}}\n"
    bayes = Client(id="a", features=["q"], model=model)
    with pytest.raises(ConfigurationError, match=r"^--features: GaussianNB cannot learn from text"):
        bayes.overridden([{"name": "t", "kind": "text"}])
    with pytest.raises(ConfigurationError, match="2:42: GaussianNB cannot learn from text: it takes no sparse matrix"):
        load_fleet(write(tmp_path, text))


def test_names_the_client_that_was_meant(tmp_path: Path) -> None:
    """An unknown id is answered with the closest one."""
    fleet = load_fleet(write(tmp_path, "defaults: {features: [a]}\nclients: {client_1: }\n"))
    with pytest.raises(ConfigurationError, match="there is no client 'client_l', did you mean 'client_1'"):
        fleet.select(["client_l"])


def test_the_projects_own_file_is_sound() -> None:
    """The file that a newcomer starts from has the ten clients of `make demo`."""
    fleet = load_fleet(ROOT / "conf" / "clients.yaml")
    assert [client.id for client in fleet.enabled] == [f"client_{i}" for i in range(10)]


def test_overrides_are_checked_alike() -> None:
    """The command line's features and parameters meet the same checks, and faults name the option."""
    client = Client(id="a", features=("f0",), model_params={"n_estimators": 5})
    changed = client.overridden(["f1"], {"max_depth": 2})
    assert (changed.features, changed.model_params) == ({"f1": "numeric"}, {"n_estimators": 5, "max_depth": 2})
    assert client.overridden() == client
    with pytest.raises(ConfigurationError, match=r"--model-params: .* takes no parameter 'depth'") as caught:
        client.overridden(["f1", "f1"], {"depth": 2})
    assert "--features: feature 'f1' is there twice" in str(caught.value)


@pytest.mark.parametrize("features", [[], [""], [1], ["product_id"], "f0"])
def test_overridden_features_are_column_names(features: Any) -> None:
    """What the file would refuse as features is refused of the command line, by the option's name."""
    with pytest.raises(ConfigurationError, match=r"^--features: "):
        Client(id="a", features=("f0",)).overridden(features)


def test_overridden_parameters_are_a_mapping() -> None:
    """Parameters that are no mapping are a configuration error, not a crash."""
    parameters: Any = [1]
    with pytest.raises(ConfigurationError, match=r"^--model-params: "):
        Client(id="a", features=("f0",)).overridden(model_params=parameters)


def test_tells_every_fault_of_one_models_parameters(tmp_path: Path) -> None:
    """Several wrong values and an unknown name in one block are told together, each at its own place."""
    text = "clients:\n  a: {features: [q], model_params: {n_estimators: many, max_depth: deep, n_estimator: 1}}\n"
    file = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_fleet(file)
    lines = str(caught.value).splitlines()
    for line, name in zip(lines, ("n_estimators", "max_depth", "n_estimator"), strict=True):
        assert line.startswith(f"{file}:2:{text.splitlines()[1].index(name + ':') + 1}: ")


def test_judges_defaults_that_no_client_has(tmp_path: Path) -> None:
    """A wrong default model is told although every client names another: the next client would meet it."""
    file = write(
        tmp_path,
        "defaults: {features: [a], model: os.system}\nclients:\n  x: {model: sklearn.naive_bayes.GaussianNB}\n",
    )
    with pytest.raises(ConfigurationError, match=r"1:27: scikit-learn lists no classifier 'os\.system'"):
        load_fleet(file)


def test_a_mistyped_clients_is_named(tmp_path: Path) -> None:
    """`client:` for `clients:` is answered with the word that was meant."""
    with pytest.raises(ConfigurationError, match="unknown key 'client', did you mean 'clients'"):
        load_fleet(write(tmp_path, "client:\n  a:\n"))


_SAID = st.fixed_dictionaries(
    {},
    optional={
        "features": st.lists(st.sampled_from(["a", "b", "c", "true", "1"]), min_size=1, unique=True),
        "model_params": st.dictionaries(st.sampled_from(["n_estimators", "max_depth", "random_state"]), st.integers(1)),
        "enabled": st.booleans(),
        "max_quarantine": st.floats(0, 1) | st.sampled_from([0, 1]),
    },
)


_IDS = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_-]{0,9}\Z")


@given(
    _SAID,
    # Ids that differ in case alone are refused.
    st.dictionaries(_IDS, _SAID, max_size=4).filter(lambda said: len({one.lower() for one in said}) == len(said)),
)
def test_whatever_is_said_is_what_holds(defaults: dict[str, Any], said: dict[str, dict[str, Any]]) -> None:
    """For every sound file a client has its own word, else the defaults', else the built-in one."""
    params = [block.get("model_params", {}) for block in (defaults, *said.values())]
    for random_state in (block for block in params if "random_state" in block):
        random_state["random_state"] %= 2**32
    defaults = {"features": ["q"], **defaults}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"defaults": defaults, "clients": said}, file)
        file.flush()
        clients = load_fleet(Path(file.name)).clients
    assert set(clients) == set(said)
    for client_id, own in said.items():
        client, effective = clients[client_id], {"enabled": True, "max_quarantine": 0.05, **defaults, **own}
        assert list(client.features) == effective["features"]
        assert client.model_params == {**defaults.get("model_params", {}), **own.get("model_params", {})}
        assert (client.enabled, client.max_quarantine) == (effective["enabled"], effective["max_quarantine"])


def test_scikit_learns_list_is_made_once_for_a_thousand_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walking its modules takes longer than all else: a fleet of clients, no two the same, must not repeat it."""
    walks, real = [], sklearn.utils.all_estimators
    monkeypatch.setattr(sklearn.utils, "all_estimators", lambda **given: walks.append(given) or real(**given))
    many = "".join(f"  c{i}: {{model_params: {{random_state: {i}}}}}\n" for i in range(1000))
    fleet = load_fleet(write(tmp_path, f"defaults: {{features: [f0]}}\nclients:\n{many}"))
    assert len(fleet.clients) == 1000
    assert len(walks) <= 1  # none, where a test before this one has asked


def test_equal_configurations_have_equal_digests() -> None:
    """The digest follows what a client effectively is, not how it was written."""
    one = Client(id="a", features=("f",), model_params={"a": 1, "b": 2})
    other = Client(id="a", features=("f",), model_params={"b": 2, "a": 1})
    assert one.sha == other.sha
    assert one.sha != Client(id="a", features=("g",), model_params={"a": 1, "b": 2}).sha


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("clients: [", "this is not YAML"),
        ("clients: {a: !!python/object/apply:os.system [x]}", "mapping"),
        ("", "`clients:` is missing"),
        ("clients: 3", "`clients:` is missing"),
        ("clients: {a: {}}", "`features:` is missing"),
        ("clients: &a {x: *a}", "aliases written out"),
        (
            "clients:\n" + "".join(f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 1}]\n" for i in range(9)),
            "alias",
        ),
        ("# " + "x" * (16 << 20), "larger than"),
        ("[" * 100_000, "nest|not YAML|deep"),
        ("clients: {a: {max_quarantine: 2026-13-45}}", "not YAML|value|month"),
    ],
)
def test_refuses_what_is_no_configuration(tmp_path: Path, text: str, complaint: str) -> None:
    """Broken, hostile and empty files are configuration errors (exit 2), never a crash."""
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_fleet(write(tmp_path, text))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("predict: {timeout: 1:30}", "3:22: YAML reads 1:30 in base 60: write a duration as 90s"),
        ("predict: {retries: 010}", "3:22: YAML reads 010 in base 8"),
        ("predict: {schedule: */15 * * * *}", '3:24: this is not YAML: .*stands in quotes, as "\\*/15'),
        ("category_separator: >", "3:23: > begins a text of several lines.*write '>', in quotes"),
        ("category_separator: |", r"3:23: \| begins a text of several lines"),
        ("<<: *shared", "3:3: YAML's merge .* is not read here: .* `defaults:`"),
    ],
)
def test_says_what_to_write_where_yaml_reads_otherwise(tmp_path: Path, said: str, told: str) -> None:
    """A value that YAML takes for something else than people mean is refused with its place and what to write."""
    text = f"scheduler: &shared {{}}\ndefaults:\n  {said}\n  features: [f0]\nclients:\n  a:\n"
    with pytest.raises(ConfigurationError, match=told):
        load_fleet(write(tmp_path, text))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("scheduler: {keep: 90d}", "1:13: unknown key 'keep': it is `keep: {history: …}` now"),
        ("publishing: {keep_replaced: 1h}", "1:1: unknown key 'publishing': it is `keep: {replaced: …}` now"),
        ("keep: {quarantin: 3d}", "unknown key 'quarantin', did you mean 'quarantine'"),
    ],
)
def test_says_where_a_key_has_gone(tmp_path: Path, said: str, told: str) -> None:
    """What earlier versions had elsewhere is not taken for a slip."""
    with pytest.raises(ConfigurationError, match=told):
        load_fleet(write(tmp_path, f"{said}\ndefaults: {{features: [f0]}}\nclients:\n  a:\n"))


def test_what_is_kept_is_read(tmp_path: Path) -> None:
    """As durations, the others with their defaults."""
    keep = load_fleet(
        write(tmp_path, "keep: {replaced: 2h, quarantine: 7d}\ndefaults: {features: [f0]}\nclients: {a: }\n")
    ).keep
    assert (keep.replaced, keep.quarantine, keep.history) == (7200, 7 * 86400, 90 * 86400)


def test_numbers_are_read_as_people_read_them(tmp_path: Path) -> None:
    """Nought, negative and broken numbers, and quoted text, are none of YAML's surprises."""
    text = """a: [0, -3, 0.5, 1_000, 1e-3, "1:30", '>', "010", 2026-01-31]\nb: 00\n"""
    source = read_yaml(write(tmp_path, text))
    assert not source.faults
    assert source.value["a"][:4] == [0, -3, 0.5, 1000]


def test_a_large_fleet_is_read(tmp_path: Path) -> None:
    """A file of more than a megabyte, of clients with features of their own, is no bomb."""
    features = ", ".join(f"feature_number_{number}" for number in range(27))
    clients = "".join(f"  client_{number}: {{features: [{features}]}}\n" for number in range(2500))
    file = write(tmp_path, f"defaults: {{model_params: {{n_estimators: 3}}}}\nclients:\n{clients}")
    assert file.stat().st_size > 1 << 20
    assert len(load_fleet(file, fits=False).clients) == 2500


def test_names_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named, with the option that names another."""
    with pytest.raises(ConfigurationError, match=r"no\.yaml cannot be read.*--config"):
        load_fleet(tmp_path / "no.yaml")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """No file makes the reader fail in another way than by a configuration error."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(ConfigurationError):
            read_yaml(Path(file.name)).raise_faults()


def test_text_is_fitted_again_unless_said_otherwise() -> None:
    """A client with text is fitted on all rows in the end; one of numbers is used as it was judged."""
    numbers, text = {"f0": "numeric"}, {"title": "text", "price": "numeric"}
    said = {
        (features is text, refit): Client(id="x", features=features, refit=refit).refits
        for features in (numbers, text)
        for refit in (None, True, False)
    }
    assert [place for place, refits in said.items() if refits] == [(False, True), (True, None), (True, True)]


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_jobs_need_is_no_feature(tmp_path: Path, name: str) -> None:
    """Every column that a job keeps beside the delivered ones is refused as a feature's name."""
    file = tmp_path / "clients.yaml"
    file.write_text(f"defaults: {{features: [{name}]}}\nclients: {{x: }}\n")
    with pytest.raises(ConfigurationError, match=f"features: '{name}' is no feature"):
        load_fleet(file)


def test_a_clients_labels_go_over_the_defaults(tmp_path: Path) -> None:
    """One by one; they decide no result, so that the client's digest is the same."""
    text = "defaults: {features: [q], labels: {plan: gold, country: de}}\nclients:\n  a: {labels: {plan: free}}\n  b:\n"
    fleet = load_fleet(write(tmp_path, text))
    a, b = fleet.clients.values()
    assert (a.labels, b.labels) == ({"plan": "free", "country": "de"}, {"plan": "gold", "country": "de"})
    assert a.sha == a.model_copy(update={"labels": {}}).sha


@pytest.mark.parametrize("labels", ["[gold]", "{plan: }", '{plan: ""}', '{plan: "a\\nb"}'])
def test_a_label_is_a_short_line(tmp_path: Path, labels: str) -> None:
    with pytest.raises(ConfigurationError, match=r"clients.yaml:3:\d+: labels"):
        load_fleet(write(tmp_path, f"defaults: {{features: [q]}}\nclients:\n  a: {{labels: {labels}}}\n"))
