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
from bc4all.data.published import published_days
from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day, RunId
from bc4all.layout import Layout
from bc4all.schedule.crontab import block
from bc4all.schedule.history import History
from bc4all.schedule.kubernetes import Pod, manifests
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


@pytest.mark.parametrize("kind", [ClientId, Day, RunId])
def test_becomes_no_path_and_no_name(kind: Callable[[str], object]) -> None:
    """What paths and names are made of (`test_identity` sees that it is nothing else) refuses each of them."""
    for hostile in HOSTILE:
        with pytest.raises(ConfigurationError, match="is not a"):
            kind(hostile)


def test_becomes_no_journal() -> None:
    """What a journal names is checked when it is read."""
    for hostile in HOSTILE:
        for field in ("run_id", "client_id", "day", "job"):
            sound = {"run_id": "r", "client_id": "c", "job": "train", "day": DAY, "locks": "x"}
            assert Journal.loads(json.dumps(sound)) is not None
            assert Journal.loads(json.dumps({**sound, field: hostile})) is None, (field, hostile)


def test_becomes_no_run_of_the_history(tmp_path: Path) -> None:
    """What the history's file says of clients and days is checked when it is read."""
    for hostile in HOSTILE:
        if "\ud800" in hostile:  # which SQLite does not keep
            continue
        for client, day in ((hostile, DAY), ("client_0", hostile)):
            history = History(tmp_path / "history.db")
            with history.transaction():
                history._db.execute("DELETE FROM runs")
                history.add(client, "train", day, f"{DAY}T00:00:00+00:00", "manual")
            with pytest.raises(ConfigurationError, match="is not a"):
                history.runs()
            history.close()


def test_becomes_no_published_day(tmp_path: Path) -> None:
    """A folder that somebody has set aside is no partition, whichever its name."""
    for name in ("date=2026-01-30", "date=2026-01-31", "date=2026-01-31.old", "date=zzz", "2026-02-01", "_doctor"):
        (tmp_path / "products_categories" / "client_id=client_0" / name).mkdir(parents=True)
    days = published_days(Layout.at(str(tmp_path)), ClientId("client_0"))
    assert days == [Day("2026-01-30"), Day("2026-01-31")]
    assert {type(day) for day in days} == {Day}


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
    assert [line.split()[5:8] for line in lines] == [
        ["/srv/bc4all/bin/cron-job.sh", job, letters] for job in ("train", "predict")
    ]
    assert f"- {letters}\n" in manifests(fleet, Pod("image", {}))


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
