"""The state folder: where it lies, and that a client's job is never run beside itself on one machine."""

from pathlib import Path

import pytest

from bc4all.errors import ConfigurationError, TransientFailure
from bc4all.layout import Layout
from bc4all.state import State


def test_lies_beside_the_data_or_at_home() -> None:
    """$BC4ALL_STATE wins; a local prefix has its own; remote prefixes have one each below the home folder."""
    local, remote = Layout.at("/data of ours"), [Layout.at(f"hdfs:///data{number}") for number in range(2)]
    assert State.from_environment(local, {}).folder == Path("/data of ours/_state")
    assert State.from_environment(local, {"BC4ALL_STATE": "/var/x"}).folder == Path("/var/x")
    folders = {State.from_environment(layout, {}).folder for layout in remote}
    assert len(folders) == 2
    assert all(folder.parent == Path.home() / ".local" / "state" / "bc4all" for folder in folders)


def test_a_clients_job_excludes_itself_alone(tmp_path: Path) -> None:
    """While it runs, the same job of the same client fails with what a retry may mend; every other one goes on."""
    state = State(tmp_path)
    twice = pytest.raises(TransientFailure, match="another train of this client is running")
    with state.exclusive("x", "train"):
        with twice, state.exclusive("x", "train", patience=0.1):
            pass
        with state.exclusive("x", "predict"), state.exclusive("y", "train"):
            pass
    with state.exclusive("x", "train"):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The error names the folder and the variable that moves it."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match=r"no state can be kept.*BC4ALL_STATE"),
        State(tmp_path / "file" / "state").exclusive("x", "train"),
    ):
        pass
