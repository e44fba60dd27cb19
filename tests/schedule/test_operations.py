"""The scheduler as a real process, and the commands of people: killed, restarted, stopped, nothing lost or doubled.

The jobs are a script that takes a second: real ones, through spark-submit, are run in tests/spark.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import psutil
import pytest
import requests
from click.testing import CliRunner

from bc4all.cli.main import main
from bc4all.config.fleet_file import load_fleet
from bc4all.layout import Layout
from bc4all.schedule.child import started_at
from bc4all.schedule.dispatch import Dispatcher, finish_orphans
from bc4all.schedule.history import History, Run, iso
from bc4all.schedule.operations import Operations
from bc4all.state import State

# What stands in for bin/submit.sh: says that it began, takes its time, says what became of each client.
JOB = """#!/bin/sh
job=$1
shift
case "$*" in *--backfilled*) echo "$*" >> "$BC4ALL_STATE/backfilled";; esac
clients=
while [ "$1" = --client-id ]; do clients="$clients $2"; shift 2; done
for client in $clients; do echo "$job $client $$" >> "$BC4ALL_STATE/begun"; done
[ -z "$UNDRIVEN" ] || [ -e "$BC4ALL_STATE/died" ] || {
    echo '{"event": "launched"}' >> "$BC4ALL_RESULTS"
    touch "$BC4ALL_STATE/died"
    exit 1
}
[ -z "$SUICIDAL" ] || [ -e "$BC4ALL_STATE/died" ] || { touch "$TMPDIR/left" "$BC4ALL_STATE/died"; kill -9 $$; }
[ -z "$STUBBORN" ] || trap '' TERM
[ -z "$EXIT_ONCE" ] || [ -e "$BC4ALL_STATE/died" ] || { touch "$BC4ALL_STATE/died"; exit "$EXIT_ONCE"; }
sleep "${SECONDS_EACH:-1}" & wait $!
[ -z "$STUBBORN" ] || sleep 600
for client in $clients; do
    printf '{"client_id": "%s", "exit_code": 0, "rows": 1, "version": 1, "top_5": null, ' "$client" >> "$BC4ALL_RESULTS"
    printf '"run_id": "r", "error": null, "drifted": %s}\\n' "${DRIFTED:-false}" >> "$BC4ALL_RESULTS"
done
"""

# The scheduler of `bc4all scheduler`, with the script for a job and, for clients due each minute, a clock that is fast.
PROCESS = """
import pathlib, sys
from dataclasses import replace
from bc4all.config.fleet_file import load_fleet
from bc4all.logs import start_log
from bc4all.schedule.operations import Operations
start_log("info", False)
config, job = map(pathlib.Path, sys.argv[1:])
with Operations.opened() as operations:
    sys.exit(replace(operations, program=job).scheduler(lambda: load_fleet(config)))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a job, a configuration, and state; all that was started in it is gone when the test is over."""
    (tmp_path / "job").write_text(JOB)
    (tmp_path / "job").chmod(0o755)
    monkeypatch.setenv("DATA_PREFIX", str(tmp_path / "data"))
    monkeypatch.setenv("BC4ALL_STATE", str(tmp_path / "state"))
    yield tmp_path
    for process in psutil.process_iter():
        try:
            if str(tmp_path) in process.environ().get("BC4ALL_STATE", "") and process.pid != os.getpid():
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def configure(here: Path, clients: str, scheduler: str = "") -> Path:
    """Write the configuration."""
    file = here / "clients.yaml"
    defaults = "defaults: {features: [a], timezone: UTC, train: {enabled: false}}"
    file.write_text(f"scheduler: {{port: 0, {scheduler}}}\n{defaults}\nclients:\n{clients}")
    return file


def start(here: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start the scheduler."""
    command = [sys.executable, "-c", PROCESS, str(here / "clients.yaml"), str(here / "job")]
    with (here / "log").open("ab") as log:
        return subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)


def runs(here: Path) -> list[Run]:
    """What the history says."""
    history = History(State(here / "state").history)
    try:
        return history.runs()
    finally:
        history.close()


def wait_for(condition: Callable[[], object], log: Path, seconds: float = 60.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, log.read_text() if log.exists() else ""
        time.sleep(0.05)


def queue(here: Path, clients: int) -> None:
    """Write down runs that are due now, as the scheduler does at their minute: no test waits for one."""
    history = History(State(here / "state").history)
    for number in range(clients):
        history.add(f"c{number}", "predict", "2026-01-31", "2026-01-31T04:00:00+00:00", "schedule")
    history.close()


CLIENTS = "".join(f"  c{number}: {{predict: {{schedule: 0 4 31 1 *, batch: false}}}}\n" for number in range(6))


@pytest.mark.slow
def test_killed_in_mid_run_it_loses_and_doubles_nothing(here: Path) -> None:
    """SIGKILL again and again while jobs run: what ran is taken over, what waited is started, each once."""
    configure(here, CLIENTS, "max_parallel: 2")
    queue(here, 6)
    log = here / "log"
    for _ in range(3):
        scheduler = start(here, SECONDS_EACH="15")
        wait_for(lambda: any(run.state == "running" and run.pid for run in runs(here)), log)
        time.sleep(0.7)
        scheduler.kill()
        scheduler.wait()
    scheduler = start(here, SECONDS_EACH="1")
    wait_for(lambda: all(run.state == "done" for run in runs(here)), log)
    scheduler.terminate()
    assert scheduler.wait(timeout=30) == 0, log.read_text()
    assert len(runs(here)) == 6
    begun = [line.split()[1] for line in (here / "state" / "begun").read_text().splitlines()]
    assert Counter(begun) == Counter({f"c{number}": 1 for number in range(6)})
    assert "taken over" in log.read_text()


@pytest.mark.slow
def test_waits_for_what_runs_and_on_a_second_term_ends_it(here: Path) -> None:
    """After one TERM nothing new is started and the running job is waited for; after two it is ended, and due again."""
    configure(here, CLIENTS, "max_parallel: 1")
    queue(here, 2)
    log = here / "log"
    scheduler = start(here, SECONDS_EACH="3")
    wait_for(lambda: (here / "state" / "begun").exists(), log)
    scheduler.terminate()
    assert scheduler.wait(timeout=30) == 0, log.read_text()
    assert sorted(run.state for run in runs(here)) == ["done", "queued"]
    scheduler = start(here, SECONDS_EACH="600")
    wait_for(lambda: len((here / "state" / "begun").read_text().splitlines()) == 2, log)
    scheduler.terminate()
    time.sleep(0.5)
    scheduler.terminate()
    assert scheduler.wait(timeout=30) == 0, log.read_text()
    assert sorted(run.state for run in runs(here)) == ["done", "queued", "stopped"]
    left = [
        p
        for p in psutil.process_iter(["environ"])
        if (p.info["environ"] or {}).get("BC4ALL_RUN", "").startswith(str(here))
    ]
    assert not left


@pytest.mark.slow
def test_a_job_over_its_timeout_is_gone(here: Path) -> None:
    """One that ignores TERM is killed with its descendants, and recorded as timed out."""
    configure(here, "  c0: {predict: {schedule: 0 4 31 1 *, timeout: 2s}}\n")
    queue(here, 1)
    scheduler = start(here, STUBBORN="1")
    wait_for(lambda: [run.state for run in runs(here)] == ["timeout"], here / "log")
    scheduler.terminate()
    assert scheduler.wait(timeout=30) == 0
    assert not [p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get("STUBBORN")]


@pytest.mark.slow
def test_a_killed_job_is_tried_again(here: Path) -> None:
    """Out of memory, say: it counts as lost, its temporary files go, and the next attempt does what it did not."""
    configure(here, "  c0: {predict: {schedule: 0 4 31 1 *, retry_delay: 1s}}\n")
    queue(here, 1)
    scheduler = start(here, SUICIDAL="1", TMPDIR=str(here))
    wait_for(lambda: [run.state for run in runs(here)] == ["lost", "done"], here / "log")
    scheduler.terminate()
    assert scheduler.wait(timeout=30) == 0
    assert [(run.exit_code, run.error) for run in runs(here)] == [(137, "its process was ended by signal 9"), (0, None)]
    assert not list(here.rglob("left"))
    assert not list(here.glob("bc4all-*"))


@pytest.mark.slow
def test_a_job_whose_java_is_out_of_memory_is_tried_again(here: Path) -> None:
    """It counts as lost like one that the system killed, and its error says what to raise."""
    assert ends_once(here, EXIT_ONCE="3") == (3, "Java ran out of memory (raise --driver-memory)")


@pytest.mark.slow
def test_a_job_whose_driver_never_ran_is_tried_again(here: Path) -> None:
    """Where the Java that finds the driver's command out is killed, Spark's script ends with 1, as a fault does."""
    assert ends_once(here, UNDRIVEN="1") == (1, "ended before its driver ran: see its log")


def ends_once(here: Path, **settings: str) -> tuple[int | None, str | None]:
    """The exit code and error of a job's first run, which is lost; the second one is done."""
    configure(here, "  c0: {predict: {schedule: 0 4 31 1 *, retry_delay: 1s}}\n")
    queue(here, 1)
    scheduler = start(here, **settings)
    wait_for(lambda: [run.state for run in runs(here)] == ["lost", "done"], here / "log")
    scheduler.terminate()
    assert scheduler.wait(timeout=30) == 0
    first, second = runs(here)
    assert (second.exit_code, second.error) == (0, None)
    return first.exit_code, first.error


@pytest.mark.slow
def test_there_is_one_scheduler(here: Path) -> None:
    """A second one on the same state ends with exit code 2 and says so."""
    configure(here, CLIENTS)
    first = start(here)
    wait_for(lambda: (here / "log").exists() and "clients enabled" in (here / "log").read_text(), here / "log")
    second = CliRunner().invoke(main, ["scheduler", "--config", str(here / "clients.yaml")])
    first.terminate()
    assert second.exit_code == 2
    assert "another scheduler works on this state" in second.output
    assert first.wait(timeout=30) == 0


@pytest.mark.slow
def test_reads_its_file_again_and_tells_its_health(here: Path) -> None:
    """When the file changes, and on HUP; a broken one is told in the log and at /health, and the old one stays."""
    file = configure(here, CLIENTS, "port: 9746")
    file.write_text(file.read_text().replace("port: 0, ", ""))
    scheduler = start(here)
    log = here / "log"

    def health() -> dict[str, object]:
        try:
            answer: dict[str, object] = requests.get("http://127.0.0.1:9746/health", timeout=5).json()
        except requests.ConnectionError:
            return {}
        return answer

    wait_for(lambda: health().get("configuration_valid") is True, log)
    shown = 'bc4all_allowed_age_seconds{client="c0",job="predict"}'  # from the first step on
    wait_for(lambda: shown in requests.get("http://127.0.0.1:9746/metrics", timeout=5).text, log)
    sound = file.read_text()
    file.write_text(sound.replace("0 4 31", "0 4"))
    wait_for(lambda: health().get("configuration_valid") is False, log)
    file.write_text(sound)
    wait_for(lambda: health().get("configuration_valid") is True, log)
    before = log.read_text().count("is in force")
    scheduler.send_signal(signal.SIGHUP)
    wait_for(lambda: log.read_text().count("is in force") > before, log)
    scheduler.send_signal(signal.SIGINT)
    assert scheduler.wait(timeout=30) == 0


def now() -> datetime:
    """When a run is due that somebody wants at once."""
    return datetime.now(UTC)


def operations(here: Path) -> Operations:
    """What run-now works with, on the script."""
    state = State(here / "state")
    return Operations(Layout.at(str(here / "data")), state, History(state.history), here / "job")


def test_run_now_is_remembered_and_passes_the_code_on(here: Path) -> None:
    """Each client's own result is in the history; what the job printed is in the log."""
    fleet = load_fleet(configure(here, CLIENTS))
    said: list[str] = []
    days = {"c0": "2026-01-31", "c1": "2026-01-31"}
    assert operations(here).run_now(fleet, "predict", days, "manual", said.append, now()) == 0
    assert [run.state for run in runs(here)] == ["done", "done"]
    assert all(run.mlflow_run == "r" and run.log and Path(run.log).exists() for run in runs(here))
    (here / "job").write_text("#!/bin/sh\nexit 1\n")
    assert operations(here).run_now(fleet, "predict", {"c0": "2026-01-31"}, "manual", said.append, now()) == 1
    assert "c0: predict of 2026-01-31 failed" in said[-1]
    assert "exit code 1" in said[-1]


def test_run_now_trains_what_has_drifted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of cron whose prediction tells of a drift trains the client, once, before it returns."""
    monkeypatch.setenv("DRIFTED", "true")
    clients = "  c0: {drift: {train: true}, train: {enabled: true}}\n  c1: {train: {enabled: true}}\n"
    fleet = load_fleet(configure(here, clients))
    said: list[str] = []
    days = {"c0": "2026-01-31", "c1": "2026-01-31"}
    assert operations(here).run_now(fleet, "predict", days, "cron", said.append, now()) == 0
    found = Counter((run.client, run.job, run.state) for run in runs(here))
    assert found == {("c0", "predict", "done"): 1, ("c1", "predict", "done"): 1, ("c0", "train", "done"): 1}
    assert said[-1].startswith("c0: train of 2026-01-31 done")


def test_a_prediction_of_cron_goes_behind_the_training_of_its_minute(here: Path) -> None:
    """The training's line, a process of its own, may come later: it is waited for, and then what it has started."""
    fleet = load_fleet(configure(here, CLIENTS))
    due = datetime(2026, 1, 31, 4, tzinfo=UTC)
    days, said = {"c0": "2026-01-31"}, list[str]()

    def train() -> None:
        while not runs(here):
            time.sleep(0.05)
        operations(here).run_now(fleet, "train", days, "cron", said.append, due)

    other = multiprocessing.get_context("fork").Process(target=train)
    other.start()
    operations(here).run_now(fleet, "predict", days, "cron", said.append, due, time.time() + 3)
    other.join()
    found = {run.job: run for run in runs(here)}
    assert {run.state for run in found.values()} == {"done"}
    assert (here / "state" / "begun").read_text().split()[::3] == ["train", "predict"]


def test_cron_and_the_scheduler_start_a_run_once(here: Path) -> None:
    """A line of cron that fires at a minute which the scheduler has already leaves the run to it."""
    fleet = load_fleet(configure(here, CLIENTS))
    said: list[str] = []
    desk = operations(here)
    due = datetime(2026, 1, 31, 4, tzinfo=UTC)
    desk.history.add("c0", "predict", "2026-01-31", iso(due.timestamp()), "schedule")
    assert desk.run_now(fleet, "predict", {"c0": "2026-01-31"}, "cron", said.append, due) == 0
    assert "left to what has noted it" in said[-1]
    assert {run.state for run in runs(here)} == {"queued"}
    assert not (here / "state" / "begun").exists()


def test_a_run_that_waits_again_has_a_starter(here: Path) -> None:
    """One that its application had not come to, or is retried: else another command takes it for one left behind."""
    desk, me = operations(here), psutil.Process()
    waiting = desk.history.add("c0", "predict", "2026-01-31", "2026-01-31T04:00:00+00:00", "cron", not_before=1.0)
    running = desk.history.add("c1", "predict", "2026-01-31", "2026-01-31T04:00:00+00:00", "cron")
    assert waiting
    assert running
    desk.history.update([running.id], state="running", pid=2**22 + 1, pid_started=1.0)
    desk.history.claim(me.pid, started_at(me), desk.history.runs())
    assert [run.pid for run in desk.history.runs()] == [me.pid, 2**22 + 1]
    finish_orphans(desk.state, desk.history, time.time())
    assert [run.state for run in desk.history.runs()] == ["queued", "lost"]


def test_a_run_that_another_process_has_started_is_not_started_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines of a minute may both see it queued: the later one looks again before it starts anything."""
    fleet = load_fleet(configure(here, CLIENTS))
    desk, other = operations(here), History(State(here / "state").history)
    run = desk.history.add("c0", "predict", "2026-01-31", "2026-01-31T04:00:00+00:00", "manual")
    assert run
    ready = Dispatcher._ready

    def too_late(self: Dispatcher, *asked: object) -> Iterable[list[Run]]:
        """What was ready, and is another's by now."""
        found = list(ready(self, *asked))  # type: ignore[arg-type]
        other.update([run.id], state="running", pid=2**22 + 1)
        return found

    monkeypatch.setattr(Dispatcher, "_ready", too_late)
    dispatcher = desk.dispatcher(lambda run: True, lambda notice: None)
    dispatcher.start(fleet)
    other.close()
    assert not dispatcher.running
    assert not (here / "state" / "begun").exists()


def test_what_another_line_has_queued_is_that_lines(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prediction's line starts no training that is due at the same minute: it waits for it, or its line's end."""
    monkeypatch.setattr("bc4all.schedule.dispatch._LOOK_S", 0.5)
    fleet = load_fleet(configure(here, CLIENTS))
    desk, due = operations(here), datetime(2026, 1, 31, 4, tzinfo=UTC)
    other = subprocess.Popen(["/bin/sleep", "4"])
    try:
        train = desk.history.add("c0", "train", "2026-01-31", due.isoformat(), "cron")
        assert train
        desk.history.update([train.id], pid=other.pid, pid_started=started_at(psutil.Process(other.pid)))
        assert desk.run_now(fleet, "predict", {"c0": "2026-01-31"}, "cron", lambda text: None, due) == 0
    finally:
        other.kill()
        other.wait()
    # The training was stopped, and, having been due so long ago, is forgotten by now.
    assert [(run.job, run.state) for run in runs(here)] == [("predict", "done")]
    assert (here / "state" / "begun").read_text().split()[::3] == ["predict"]


def test_what_nobody_watches_over_any_more_is_finished(here: Path) -> None:
    """A run-now that was killed leaves no run that is running for ever: the next command sees that its job is gone."""
    configure(here, CLIENTS)
    history = History(State(here / "state").history)
    run = history.add("c0", "predict", "2026-01-31", "2026-01-31T04:00:00+00:00", "manual")
    assert run
    history.update([run.id], state="running", started="2026-01-31T04:00:00+00:00", pid=2**22 + 1, pid_started=1.0)
    history.close()
    shown = CliRunner().invoke(main, ["status", "--config", str(here / "clients.yaml"), "--failed", "--json"])
    assert shown.exit_code == 0, shown.output
    assert '"state": "lost"' in shown.output


def invoke(here: Path, *arguments: str) -> str:
    """What a command prints on a wide terminal; it must succeed."""
    done = CliRunner().invoke(
        main, list(arguments), env={"COLUMNS": "200", "BC4ALL_CONFIG": str(here / "clients.yaml")}
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_people_see_what_ran(here: Path) -> None:
    """status, runs, logs, pause and resume, on what a run left."""
    fleet = load_fleet(configure(here, CLIENTS))
    operations(here).run_now(
        fleet, "predict", {"c0": "2026-01-31", "c1": "2026-01-31"}, "manual", lambda text: None, now()
    )
    event = '{{"ts": "now", "level": "INFO", "logger": "l", "msg": "{0} read", "context": {{"client_id": "{0}"}}}}\n'
    log = Path(str(runs(here)[0].log))
    log.write_text("plain\n" + event.format("c0") + event.format("c1"))
    table = invoke(here, "status")
    assert [line.split("│")[3].strip() for line in table.splitlines() if "│ c0 " in line] == ["–", "done"]
    assert "12 jobs, 0 failed" in table
    assert "manual" in invoke(here, "runs", "--client-id", "c0")
    shown = invoke(here, "logs", "--client-id", "c0")
    assert "c0 read" in shown
    assert "plain" in shown
    history = History(State(here / "state").history)
    history.update([run.id for run in runs(here)], log=str(log))
    history.close()
    assert "c1 read" not in invoke(here, "logs", "--client-id", "c0")
    assert "c0: predict is paused" in invoke(here, "pause", "--client-id", "c0", "--job", "predict")
    assert "paused" in next(
        line for line in invoke(here, "status").splitlines() if "│ c0 " in line and "predict" in line
    )
    assert "│ c1 " in invoke(here, "next", "--hours", "8784")
    assert "│ c0 " not in invoke(here, "next", "--hours", "8784")
    assert "c0: predict is resumed" in invoke(here, "resume", "--client-id", "c0", "--job", "predict")
    assert "paused" not in next(
        line for line in invoke(here, "status").splitlines() if "│ c0 " in line and "predict" in line
    )


def test_backfill_runs_the_missing_dates(here: Path) -> None:
    """Published dates are left alone; the others are run in order, each for its date, until one fails."""
    fleet = load_fleet(configure(here, CLIENTS))
    for day in ("2026-01-02", "2026-01-04"):
        (here / "data" / "products_categories" / "client_id=c0" / f"date={day}").mkdir(parents=True)
    span = date(2026, 1, 1), date(2026, 1, 4)
    said: list[str] = []
    assert operations(here).backfill(fleet, "c0", *span, said.append) == 0
    assert "2 dates are missing" in said[0]
    assert "what is delivered now is published for each" in said[1]
    assert len((here / "state" / "backfilled").read_text().splitlines()) == 2
    assert not operations(here).history.latest()
    assert [(run.day, run.state, run.trigger) for run in runs(here)] == [
        ("2026-01-01", "done", "backfill"),
        ("2026-01-03", "done", "backfill"),
    ]
    (here / "job").write_text("#!/bin/sh\nexit 1\n")
    assert operations(here).backfill(fleet, "c0", *span, said.append) == 1
    assert [run.day for run in runs(here)[2:]] == ["2026-01-01"]  # the script publishes nothing


def test_only_a_date_that_is_filled_in_is_called_so(here: Path) -> None:
    """A run of any other trigger is on time."""
    fleet = load_fleet(configure(here, CLIENTS))
    desk = operations(here)
    assert desk.run_now(fleet, "predict", {"c0": "2026-01-31"}, "manual", [].append, now()) == 0
    assert not (here / "state" / "backfilled").exists()
    assert desk.history.latest().keys() == {("c0", "predict")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Say which dates: --from DATE --to DATE, or --outdated."),
        (["--from", "2026-01-01"], "Say which dates"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "--from 2026-01-02 is after --to 2026-01-01."),
        (["--yes"], "--yes goes with --outdated."),
    ],
)
def test_backfill_wants_its_dates(here: Path, words: list[str], message: str) -> None:
    configure(here, CLIENTS)
    done = CliRunner().invoke(main, ["backfill", "--client-id", "c0", "--config", str(here / "clients.yaml"), *words])
    assert (done.exit_code, message in done.output) == (2, True)


def test_backfill_has_nothing_to_do_where_every_date_is_published(here: Path) -> None:
    """Then it says so and starts nothing."""
    configure(here, CLIENTS)
    for day in ("2026-01-01", "2026-01-02"):
        (here / "data" / "products_categories" / "client_id=c0" / f"date={day}").mkdir(parents=True)
    done = invoke(here, "backfill", "--client-id", "c0", "--from", "2026-01-01", "--to", "2026-01-02")
    assert "0 dates are missing" in done
    assert not runs(here)
