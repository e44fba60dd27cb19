"""Whatever comes from outside and would become a path, a name or a line: refused before it is one."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bc4all.cli import main as cli
from bc4all.cli import submit
from bc4all.config.fleet_file import load_fleet
from bc4all.data.journal import Journal
from bc4all.errors import ConfigurationError
from bc4all.layout import Layout, check_client_id
from bc4all.registry.versions import model_name
from bc4all.schedule.crontab import block
from bc4all.schedule.kubernetes import manifests
from bc4all.state import State
from tests.cli.test_cli import leaves
from tests.conftest import DAY

PARTS = [
    *("..", ".", "/", "\\", "\n", "\r", "\t", "\0", " ", "%", "@", "$(x)", "`x`", ";x", "|x", "&x", "'", '"', "*", "?"),
    *("#", "~", ":", "=", ",", "{x}", "[x]", "<x>", "!", "^", "+", "$IFS", "&&x", "||x", ">x", "(x)", "${HOME}", "~r"),
    *("%2e%2e", "%00", "%0a", "%2f", "\x1b[31m", "\x7f", "é", "ａ", "а", "ß", "İ", "１", "٣", "ﬁ", "＿", "‐", "🎁"),
    *("\u200b", "\u202e", "\ufeff", "\u2028", "\u00a0", "\ud800"),
]
WHOLE = [
    *("", ".", "..", "../..", "../../etc/passwd", "-rf", "--all", "-", "_", "_staging", "a" * 65, "a" * 10_000),
    *(
        "* * * * * root touch /tmp/x",
        "a\n* * * * * touch x",
        "a@b",
        "a%b",
        "C:\\x",
        "//host/x",
        "file:///etc",
        "a/../b",
    ),
    *("a.", "a..b", "a/../b", "client_0/", "client_0\n", "\nclient_0", "client_0\0", "CLIENT 0", "null\0", "-client_0"),
]
HOSTILE = sorted({*WHOLE, *itertools.chain(*((f"a{part}", f"{part}a", f"a{part}b") for part in PARTS))})
TEXT = [hostile for hostile in HOSTILE if "\0" not in hostile and "\ud800" not in hostile]  # on a command line


def test_there_are_two_hundred() -> None:
    """What may be tried is wide: so is the list."""
    assert len(HOSTILE) >= 200
    assert len(TEXT) >= 190


@pytest.mark.parametrize(
    "use",
    [
        check_client_id,
        model_name,
        Layout.at("/data").training,
        Layout.at("/data").prediction,
        Layout.at("/data").published_client,
        lambda hostile: Layout.at("/data").published_partition(hostile, DAY),
        lambda hostile: Layout.at("/data").published_partition("client_0", hostile),
        lambda hostile: Layout.at("/data").quarantine("train", hostile, DAY),
        lambda hostile: Layout.at("/data").quarantine("train", "client_0", hostile),
        lambda hostile: Layout.at("/data").staging(
            f"/{hostile}" if hostile.isascii() and hostile.isalnum() else hostile
        ),
        lambda hostile: State(Path("/state")).run_log(hostile, "predict-1"),
    ],
)
def test_becomes_no_path_and_no_name(use: Callable[[str], object]) -> None:
    """Every function that makes a path or a name of an id, a date or a run's id refuses each of them."""
    for hostile in HOSTILE:
        with pytest.raises(ConfigurationError):
            use(hostile)


def test_becomes_no_journal() -> None:
    """What a journal names is checked when it is read."""
    for hostile in HOSTILE:
        for field in ("run_id", "client_id", "day", "job"):
            sound = {"run_id": "r", "client_id": "c", "job": "train", "day": DAY, "locks": "x"}
            assert Journal.loads(json.dumps(sound)) is not None
            assert Journal.loads(json.dumps({**sound, field: hostile})) is None, (field, hostile)


def test_becomes_no_client_of_a_configuration(tmp_path: Path) -> None:
    """All are refused at once, each at its place; nothing of them reaches a crontab or a manifest."""
    file = tmp_path / "clients.yaml"
    ids = [hostile for hostile in TEXT if hostile.isprintable() and len(hostile) < 1000]  # what YAML takes for a key
    lines = [f"  {json.dumps(hostile, ensure_ascii=False)}: {{features: [f0]}}" for hostile in ids]
    file.write_text("\n".join(["clients:", *lines, ""]))
    with pytest.raises(ConfigurationError) as refused:
        load_fleet(file)
    told = str(refused.value).splitlines()
    assert [int(line.removeprefix(f"{file}:").partition(":")[0]) for line in told] == list(range(2, len(ids) + 2))
    assert all("is not a client id" in line for line in told)


def test_ids_that_differ_in_case_alone(tmp_path: Path) -> None:
    """Some storages and databases would take them for one client."""
    file = tmp_path / "clients.yaml"
    file.write_text("defaults: {features: [f0]}\nclients: {shop: , Shop: }\n")
    with pytest.raises(ConfigurationError, match="client ids 'shop' and 'Shop' differ in case alone"):
        load_fleet(file)


def test_what_is_let_in_makes_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id of every letter that is let in is one word of a crontab's line and one argument of a CronJob."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz_-"
    file = tmp_path / "clients.yaml"
    file.write_text(f"defaults: {{features: [f0]}}\nclients: {{{letters}: }}\n")
    fleet = load_fleet(file)
    lines = [line for line in block(fleet, Path("/srv/bc4all")).decode().splitlines() if not line.startswith("#")]
    assert [line.split()[5:] for line in lines] == [
        ["/srv/bc4all/bin/cron-job.sh", job, letters] for job in ("train", "predict")
    ]
    assert f"- {letters}\n" in manifests(fleet, "image", {})


def takes_a_client() -> dict[str, tuple[click.Group, list[str]]]:
    """Every command that takes a client, and what else it must be told."""
    found: dict[str, tuple[click.Group, list[str]]] = {}
    for program, group in (("bc4all", cli.main), ("bin/submit.sh", submit.main)):
        for typed, command in leaves(group):
            options = {name for parameter in command.params for name in parameter.opts}
            if "--client-id" in options:
                needed = ["--from", DAY, "--to", DAY] if "--from" in options else []
                argument = ["predict"] if "job" in [parameter.name for parameter in command.params] else []
                found[f"{program} {typed}"] = group, [*typed.split(), *argument, *needed]
    return found


COMMANDS = takes_a_client()


@pytest.mark.parametrize("command", COMMANDS)
def test_reaches_no_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that takes a client refuses each of them with exit code 2, and writes nothing."""
    monkeypatch.setenv("DATA_PREFIX", str(tmp_path / "data"))
    monkeypatch.delenv("BC4ALL_STATE", raising=False)
    monkeypatch.setattr(submit, "become_spark_submit", lambda *_: pytest.fail("Spark would have been started"))
    group, words = COMMANDS[command]
    for hostile in TEXT:
        done = CliRunner().invoke(group, [*words, f"--client-id={hostile}"])
        assert done.exit_code == 2, (hostile, done.output)
        assert "is not a client id" in done.output, (hostile, done.output)
    assert not list(tmp_path.iterdir())


def test_every_command_with_a_client_is_tried() -> None:
    """The list of commands is not a short one by accident."""
    some = {"bc4all show", "bc4all run-now", "bc4all logs", "bin/submit.sh train", "bin/submit.sh predict"}
    assert some < set(COMMANDS)
