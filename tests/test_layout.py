"""Paths, client ids and dates."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.errors import ConfigurationError
from bc4all.layout import Layout, check_client_id, check_date

HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a b",
    "a\n",
    "-a",
    "_a",
    "a@b",
    "a%b",
    "$(x)",
    "a" * 65,
    "é",
    "ａ",
    "a%2e",
    None,
]


@pytest.mark.parametrize("client_id", HOSTILE)
def test_refuses_a_hostile_client_id(client_id: str) -> None:
    """An id that could leave its folder, its crontab line or its model name never becomes one."""
    with pytest.raises(ConfigurationError, match="is not a client id"):
        check_client_id(client_id)


@given(st.text())
def test_lets_in_nothing_but_the_alphabet(text: str) -> None:
    """Whatever is let in is made of ASCII letters, digits, - and _ alone."""
    try:
        checked = check_client_id(text)
    except ConfigurationError:
        return
    assert checked == text
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("day", ["2026-02-30", "2026-1-1", "20260131", "2026-01-31\n", "٢٠٢٦-٠١-٣١", "today", None])
def test_refuses_what_is_no_date(day: str) -> None:
    """Only a calendar date written YYYY-MM-DD names a partition."""
    with pytest.raises(ConfigurationError, match="is not a date"):
        check_date(day)


def test_takes_a_date() -> None:
    """A leap day is a date."""
    assert check_date("2028-02-29") == "2028-02-29"


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


def test_knows_its_local_path(tmp_path: Path) -> None:
    """Only a local prefix has a path of this machine."""
    assert Layout.at(str(tmp_path)).local_path == tmp_path
    assert Layout.at(f"file:{tmp_path}").local_path == tmp_path
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
