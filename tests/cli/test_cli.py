"""The command `bc4all`: help, exit codes, and what it prints."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bc4all.cli.main import main
from tests.conftest import ROOT


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what is typed for it."""
    for name, command in sorted(group.commands.items()):
        typed = f"{path} {name}".strip()
        yield from leaves(command, typed) if isinstance(command, click.Group) else [(typed, command)]


COMMANDS = dict(leaves(main))


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_command_is_documented_with_an_example(typed: str) -> None:
    """--help of each command says what it does, what each option means, and shows a call; its first line fits."""
    done = CliRunner().invoke(main, [*typed.split(), "--help"])
    assert done.exit_code == 0
    assert "Example: bc4all " + typed in done.output
    for option in COMMANDS[typed].params:
        assert not isinstance(option, click.Option) or option.hidden or option.help, option.name
    assert not COMMANDS[typed].get_short_help_str(60).endswith("..."), "the first sentence is cut in bc4all --help"


def test_help_imports_nothing_heavy() -> None:
    """It answers at once."""
    program = "import sys, bc4all.cli.main, bc4all.cli.submit; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {"pyspark", "mlflow", "sklearn", "pandas", "numba", "pyarrow"} & set(loaded)


def test_check_finds_every_fault_of_the_data(sample: Path, prefix: Path, tmp_path: Path) -> None:
    """`bc4all check` names each client, file and column; sound clients give exit 0, others 1."""
    config = tmp_path / "clients.yaml"
    config.write_text("defaults: {features: [f0, f9]}\nclients: {client_0: {features: [f0]}, client_1: , gone: }\n")
    done = CliRunner().invoke(main, ["check", "--config", str(config)], env={"DATA_PREFIX": str(sample)})
    assert done.exit_code == 1
    assert "client_1: train would fail: column f9 is missing" in done.output
    assert "gone: predict would fail: there is no partition" in done.output
    assert "client_0:" not in done.output
    config.write_text("defaults: {features: [f0]}\nclients: {client_0: }\n")
    done = CliRunner().invoke(main, ["check", "--config", str(config)], env={"DATA_PREFIX": str(sample)})
    assert (done.exit_code, "every enabled client has its data" in done.output) == (0, True)


def test_check_warns_of_ids_that_are_one_number(sample: Path, prefix: Path, tmp_path: Path) -> None:
    """0123 and 123 are two clients here, and one to readers that infer types: no fault, but told."""
    for client_id in ("0123", "123"):
        for kind in ("train", "prediction"):
            shutil.copytree(sample / kind / "client_id=client_0", prefix / kind / f"client_id={client_id}")
    config = tmp_path / "clients.yaml"
    config.write_text("defaults: {features: [f0, f1, f2, f3, f4]}\nclients: {0123: , 123: }\n")
    done = CliRunner().invoke(main, ["check", "--config", str(config)])
    assert done.exit_code == 0, done.output
    assert "0123, 123 are one number to readers that infer the types of partitions" in done.stderr


def test_check_leaves_with_2_for_a_wrong_configuration(tmp_path: Path) -> None:
    """A faulty configuration is exit 2, with the place of the fault."""
    config = tmp_path / "clients.yaml"
    config.write_text("clients: {a: {feature: [f0]}}\n")
    done = CliRunner().invoke(main, ["check", "--config", str(config)])
    assert done.exit_code == 2
    assert f"{config}:1:15: unknown key 'feature', did you mean 'features'?" in done.output


def test_show_says_what_to_do_where_nothing_is_published(prefix: Path) -> None:
    """An unpublished client is answered with the command that publishes it."""
    done = CliRunner().invoke(main, ["show", "--client-id", "client_0"])
    assert done.exit_code == 1
    assert "nothing is published" in done.output
    assert "bin/submit.sh predict --client-id client_0" in done.output


def test_sample_data_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """Equal seeds make equal bytes, whatever the number of clients; other seeds make others."""
    for folder, clients, seed in (("a", 1, 3), ("b", 2, 3), ("c", 1, 4)):
        arguments = ["--clients", str(clients), "--rows", "200", "--seed", str(seed), "--out", str(tmp_path / folder)]
        assert CliRunner().invoke(main, ["sample-data", *arguments]).exit_code == 0
    a, b, c = (
        (tmp_path / folder / "train" / "client_id=client_0" / "data_train.csv.gz").read_bytes() for folder in "abc"
    )
    assert a == b != c
    again = CliRunner().invoke(main, ["sample-data", "--rows", "200", "--out", str(tmp_path / "a")])
    assert (again.exit_code, "holds data already" in again.output) == (1, True)


def test_sample_data_is_as_hard_as_the_real_one(tmp_path: Path) -> None:
    """A forest reaches a top-5 accuracy between 0.7 and 0.95 on made-up clients, as on real ones."""
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    from bc4all.data.sample_data import FEATURES, write_sample_data

    for client_id in write_sample_data(tmp_path, clients=4, rows=5000, seed=1):
        data = pd.read_csv(tmp_path / "train" / f"client_id={client_id}" / "data_train.csv.gz")
        train, test = train_test_split(data, test_size=0.1, random_state=1234)
        model = RandomForestClassifier(30, random_state=0, n_jobs=2).fit(train[list(FEATURES)], train["category_id"])
        best = model.classes_[np.argsort(-model.predict_proba(test[list(FEATURES)]), axis=1)[:, :5]]
        assert 0.7 < (best == test["category_id"].to_numpy()[:, None]).any(axis=1).mean() < 0.95, client_id


def test_makefile_and_readme_agree() -> None:
    """Each `make` target that the README names is there, and each target of the Makefile says what it does."""
    import re

    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    documented = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert named <= documented == set(phony[1].split())
