"""Where everything lies below a prefix."""

from pathlib import Path

import pytest

from bc4all.errors import ConfigurationError
from bc4all.layout import Layout


@pytest.mark.parametrize(
    ("given_prefix", "expected"),
    [
        ("/srv/all data/", "file:///srv/all data"),
        ("hdfs://host/data/", "hdfs://host/data"),
        ("viewfs:///data", "viewfs:///data"),
        ("s3a://bucket/data", "s3a://bucket/data"),
    ],
)
def test_keeps_a_uri_and_makes_one_of_a_local_path(given_prefix: str, expected: str) -> None:
    """A prefix without a scheme is a folder of this machine, spaces and all."""
    assert Layout.at(given_prefix).prefix == expected


@pytest.mark.parametrize(
    "name", ["a#b", "a%20b", "{c}", "[1]", "a?b", "a*", "a\\b", "a\nb", "s3a://bucket/a?versionId=1"]
)
def test_a_prefix_that_would_be_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    """What a URI, or a pattern of file names, reads as something else is refused before anything is done."""
    with pytest.raises(ConfigurationError, match=r"DATA_PREFIX has .* in it .*name a folder without") as refused:
        Layout.at(name if "://" in name else str(tmp_path / name))
    assert refused.value.exit_code == 2


def test_a_local_prefix_has_no_host() -> None:
    """Hadoop refuses such a URI where it is first read; Python would take another folder."""
    with pytest.raises(ConfigurationError, match=r"DATA_PREFIX names a host .*file://data/x.*three slashes"):
        Layout.at("file://data/x")


def test_so_is_the_folder_that_a_relative_one_lies_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default `data` is as good as the folder that it is in."""
    (tmp_path / "C#").mkdir()
    monkeypatch.chdir(tmp_path / "C#")
    with pytest.raises(ConfigurationError, match="DATA_PREFIX has '#' in it"):
        Layout.from_environment({})


def test_knows_its_local_path(tmp_path: Path) -> None:
    """Only a local prefix has a path of this machine."""
    assert Layout.at(str(tmp_path)).local_path == tmp_path
    assert Layout.at(f"file:{tmp_path}").local_path == tmp_path
    assert Layout.at(f"file://{tmp_path}/link/../data").local_path == tmp_path / "data"  # by name, as Hadoop has it
    assert Layout.at("hdfs://host/data").local_path is None


def test_reads_the_prefix_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DATA_PREFIX counts when the layout is made; without it, `data` in the current directory."""
    monkeypatch.delenv("DATA_PREFIX", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Layout.from_environment().local_path == tmp_path / "data"
    assert Layout.from_environment({"DATA_PREFIX": "hdfs://h/x"}).prefix == "hdfs://h/x"


def test_lays_out_the_contract() -> None:
    """Other people's tools rely on these paths."""
    layout = Layout.at("hdfs://h/d")
    assert layout.training("a") == "hdfs://h/d/train/client_id=a"
    assert layout.prediction("a") == "hdfs://h/d/prediction/client_id=a"
    assert layout.published_partition("a", "2026-01-31") == "hdfs://h/d/products_categories/client_id=a/date=2026-01-31"
    assert layout.quarantine("train", "a", "2026-01-31") == "hdfs://h/d/quarantine/train/client_id=a/date=2026-01-31"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..", "a//b"])
def test_what_leads_out_is_seen_a_second_time(name: str) -> None:
    """A path whose parts passed, by whatever fault, is still looked at as a whole."""
    with pytest.raises(ConfigurationError, match="leads out of"):
        Layout.at("/data")._inside(name)
