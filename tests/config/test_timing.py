"""Every client's own minute: stable, spread out, and due exactly when cron would say, daylight saving included."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bc4all.cli.main import main
from bc4all.config.fleet_file import load_fleet
from bc4all.config.timing import firings, is_zone, local_zone, schedule_fault, spread
from bc4all.errors import ConfigurationError

START = datetime(2026, 1, 1, tzinfo=UTC)


def parsed(field: str, lowest: int, highest: int) -> set[int]:
    """The numbers that a cron field means: crontab(5), written down a second time."""
    numbers: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = (span if span != "*" else f"{lowest}-{highest}").partition("-")
        end = int(last) if last else (highest if step else int(first))
        numbers |= set(range(int(first), end + 1, int(step or 1)))
    return numbers


def due_minutes(expression: str, days: int) -> list[datetime]:
    """The minutes of UTC in which cron starts a job, after START: crontab(5) on the two day fields included."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours, months = parsed(minute, 0, 59), parsed(hour, 0, 23), parsed(month, 1, 12)
    found = []
    for at in (START + timedelta(days=i) for i in range(days)):
        on_day = at.day in parsed(day, 1, 31)
        on_weekday = at.isoweekday() % 7 in {number % 7 for number in parsed(weekday, 0, 7)}
        both = day.startswith("*") or weekday.startswith("*")
        if at.month in months and (on_day and on_weekday if both else on_day or on_weekday):
            found += [at + timedelta(hours=h, minutes=m) for h in sorted(hours) for m in sorted(minutes)]
    return [at for at in found if at > START]


def fields(lowest: int, highest: int) -> st.SearchStrategy[str]:
    """Cron fields: all, one number, a span, a step, a list."""
    number = st.integers(lowest, highest)
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(
        st.just("*"),
        number.map(str),
        span,
        st.integers(1, 20).map(lambda step: f"*/{step}"),
        st.tuples(span, st.integers(1, 5)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
        st.lists(number, min_size=1, max_size=3).map(lambda many: ",".join(map(str, many))),
    )


@pytest.mark.slow
@settings(max_examples=60)
@given(st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), st.just("*"), fields(0, 6)).map(" ".join))
def test_is_due_in_the_minutes_that_cron_is(expression: str) -> None:
    """Over forty days, the firings are those of a plain reading of crontab(5)."""
    assert schedule_fault(expression) is None
    end = START + timedelta(days=40, seconds=-1)
    assert list(firings(expression, ZoneInfo("UTC"), START, end)) == due_minutes(expression, 40)


@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("30 2 * * *", (2026, 3, 29), ["01:00"]),  # 02:30 does not exist: at once after the change, at 03:00 local
        ("30 2 * * *", (2026, 10, 25), ["00:30"]),  # 02:30 is there twice: the first one alone
        ("30 1 * * *", (2026, 3, 29), ["00:30", "23:30"]),
        ("0 12 * * *", (2026, 3, 29), ["10:00"]),  # noon is noon, in summer time
        ("0 * * * *", (2026, 10, 25), [f"{hour:02}:00" for hour in range(24)]),  # each real hour once
    ],
)
def test_daylight_saving_neither_skips_nor_doubles(
    expression: str, day: tuple[int, int, int], expected: list[str]
) -> None:
    """On both days of change in Berlin, a job is due once a local day, as Debian's cron(8) says."""
    start = datetime(*day, tzinfo=UTC)
    found = firings(expression, ZoneInfo("Europe/Berlin"), start - timedelta(minutes=1), start + timedelta(hours=23.99))
    assert [f"{at:%H:%M}" for at in found] == expected


def test_a_fleet_spreads_over_the_day() -> None:
    """H is the same in every run, differs between jobs, and spreads a thousand clients over hours and minutes."""
    assert spread("H H 1 * *", "client_0", "train") == "11 15 1 * *"
    assert spread("5 H * * 1-5", "client_0", "predict").startswith("5 ")
    daily = [spread("H H * * *", f"client_{i}", "predict").split() for i in range(1000)]
    minutes, hours = Counter(int(due[0]) for due in daily), Counter(int(due[1]) for due in daily)
    assert (set(minutes), set(hours)) == (set(range(60)), set(range(24)))
    assert max(hours.values()) < 75  # 42 on average
    assert spread("H H * * *", "client_0", "train") != spread("H H * * *", "client_0", "predict")


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("* * * *", "has five fields"),
        ("@daily", "has five fields"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * L * *", "'L' is no day of month"),
        ("* * * * 5L", "'5L' is no day of week"),
        ("* * * * 1#2", "is no day of week"),
        ("$(x) * * * *", "is no minute"),
        ("H/5 * * * *", "is no minute"),
        ("*/0 * * * *", "bad minute"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("1-1/4 * * * *", "'1-1/4' is no minute"),
        ("1,*/5,x-y-z * * * *", "'x-y-z' is no minute"),
        ("0 0 30 2 *", "bad day-of-month"),
    ],
)
def test_refuses_what_cron_would_not_take(expression: str, complaint: str) -> None:
    """Only what every cron understands, and what can be due, is a schedule."""
    assert complaint in str(schedule_fault(expression))


def test_faults_stand_at_their_place(tmp_path: Path) -> None:
    """A wrong schedule, zone or key is told with file, line and column."""
    file = tmp_path / "clients.yaml"
    file.write_text(
        "defaults:\n  features: [a]\n  train: {schedule: H H 1 *}\n"
        "clients:\n  x:\n    timezone: Europe/Berlino\n  y:\n    predict: {shedule: H H * * *}\n"
    )
    with pytest.raises(ConfigurationError) as refused:
        load_fleet(file)
    assert f"{file}:3:11: train.schedule: a schedule has five fields" in str(refused.value)
    assert f"{file}:6:5: timezone: 'Europe/Berlino' is no time zone" in str(refused.value)
    assert f"{file}:8:15: unknown key 'shedule', did you mean 'schedule'?" in str(refused.value)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("defaults: {train: {timeout: 5 minutes}}", "1:20: train.timeout: '5 minutes' is no duration: write 90s, 5m"),
        ("defaults: {train: {retry_delay: 0s}}", "train.retry_delay: '0s' is no duration"),
        ("defaults: {predict: {timeout: -5}}", "predict.timeout: input should be greater than or equal to 1"),
        ("defaults: {predict: {retries: -1}}", "predict.retries: input should be greater than or equal to 0"),
        ("defaults: {predict: {catch_up: some}}", "predict.catch_up: input should be 'none', 'one' or 'all'"),
        ("scheduler: {max_paralel: 3}", "unknown key 'max_paralel', did you mean 'max_parallel'?"),
        ("scheduler: {max_parallel: 0}", "max_parallel: input should be greater than or equal to 1"),
        ("scheduler: {notify_webhook: ftp://x}", "notify_webhook: 'ftp://x' is no http:// or https:// address"),
        ("scheduler: {notify_command: []}", "notify_command: list should have at least 1 item"),
    ],
)
def test_wrong_settings_of_time_are_told(tmp_path: Path, said: str, complaint: str) -> None:
    """Durations, limits and receivers that cannot be meant are refused, with their place in the file."""
    file = tmp_path / "clients.yaml"
    file.write_text(f"{said}\nclients: {{x: {{features: [a]}}}}\n")
    with pytest.raises(ConfigurationError) as refused:
        load_fleet(file)
    assert complaint in str(refused.value)


def test_next_shows_who_is_due(tmp_path: Path) -> None:
    """`bc4all next` lists enabled jobs in order; a client's zone, a paused job and a paused client are heeded."""
    file = tmp_path / "clients.yaml"
    file.write_text(
        "defaults: {features: [a], train: {enabled: false}}\n"
        "clients:\n"
        "  early: {predict: {schedule: 0 1 * * *}, timezone: Asia/Tokyo}\n"
        "  hourly: {predict: {schedule: 30 * * * *}, timezone: UTC}\n"
        "  paused: {enabled: false}\n"
        "  retrained: {train: {enabled: true, schedule: 0 2 * * *}, predict: {enabled: false}, timezone: UTC}\n"
    )
    done = CliRunner().invoke(main, ["next", "--config", str(file)], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if "│" in line]
    assert len(lines) == 26
    assert sum("hourly" in line and "predict" in line for line in lines) == 24
    (tokyo,) = [line for line in lines if "early" in line]
    assert "01:00 Asia/Tokyo" in tokyo
    assert "train" in next(line for line in lines if "retrained" in line)


def test_a_change_of_time_is_no_change_of_the_model(tmp_path: Path) -> None:
    """The configuration's digest, a tag of every version, stays when only the schedule changes."""
    file = tmp_path / "clients.yaml"
    digests = set()
    for schedule in ("H H 1 * *", "5 5 5 * *"):
        file.write_text(f"defaults: {{features: [a], train: {{schedule: {schedule}}}}}\nclients: {{x: }}\n")
        digests.add(load_fleet(file).clients["x"].sha)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        ("America/New_York", "America/New_York"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("", "UTC"),
    ],
)
def test_the_environment_names_the_zone(monkeypatch: pytest.MonkeyPatch, said: str, zone: str) -> None:
    """$TZ wins in each form that the system's own clock reads as a name; without it, the machine has a zone."""
    monkeypatch.setenv("TZ", said)
    assert local_zone() == zone
    monkeypatch.delenv("TZ")
    assert is_zone(local_zone())


@pytest.mark.parametrize("said", ["CET-1CEST", "UTC+2", "Nowhere", "../etc/passwd", "/etc/passwd"])
def test_a_zone_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """A $TZ by which no schedule can be read is never replaced by another zone in silence."""
    monkeypatch.setenv("TZ", said)
    assert not is_zone(said)
    with pytest.raises(ConfigurationError, match=r"TZ is '.*no name of the time zone database.*Europe/Berlin"):
        local_zone()
