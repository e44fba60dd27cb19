"""The crontab gets this installation's lines and loses nothing; what cron starts is what the scheduler would start."""

import json
import os
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bc4all.cli.main import main
from bc4all.config.clients import Fleet
from bc4all.config.fleet_file import load_fleet
from bc4all.config.settings import SchedulerSettings
from bc4all.config.timing import firings, system_zone
from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId
from bc4all.schedule import crontab
from bc4all.schedule.agenda import Agenda, due_timings
from bc4all.schedule.crontab import (
    block,
    clients_of_line,
    marker,
    merge,
    minute_of_line,
    same_time,
    split,
    together,
)
from bc4all.schedule.kubernetes import Pod, manifests, resource_name
from bc4all.schedule.operations import Operations
from tests.config.test_timing import due_minutes
from tests.conftest import ROOT

NAME = marker(Path("/opt/bc4all"))
BLOCK = f"# BEGIN {NAME}\n1 2 * * * x\n# END {NAME}\n".encode()
FOREIGN = (
    b'# m h dom\nMAILTO="a@b"\n0 5 * * 1 tar -zcf \xff\xfe/x%y\n\n# BEGIN bc4all 0123456789\n# END bc4all 0123456789\n'
)


@pytest.fixture
def fleet(tmp_path: Path) -> Callable[[str], Fleet]:
    """A configuration of these clients, in this machine's zone unless they say otherwise."""

    def make(clients: str) -> Fleet:
        file = tmp_path / "clients.yaml"
        file.write_text(f"defaults: {{features: [a], timezone: {system_zone()}}}\nclients:\n{clients}")
        return load_fleet(file)

    return make


@given(st.binary(max_size=200).map(lambda text: text + b"\n"), st.binary(max_size=200))
def test_foreign_lines_stay_byte_for_byte(before: bytes, after: bytes) -> None:
    """Whatever stands around the block, installing, replacing and removing it give the same bytes back."""
    if NAME.encode() in before + after:
        return
    installed = merge(before, BLOCK, NAME)
    assert installed == before + BLOCK
    assert merge(installed, b"", NAME) == before
    assert merge(before + BLOCK + after, BLOCK, NAME) == before + BLOCK + after
    assert merge(before + BLOCK + after, b"", NAME) == before + after


def test_another_installations_block_is_foreign() -> None:
    """The markers carry an identifier: two installations in one crontab do not see each other."""
    assert split(FOREIGN, NAME) == (FOREIGN, b"", b"")
    assert marker(Path("/a")) != marker(Path("/b"))


@pytest.mark.parametrize(
    "text",
    [
        f"# BEGIN {NAME}\n",
        f"# END {NAME}\n",
        f"# END {NAME}\n# BEGIN {NAME}\n",
        f"# BEGIN {NAME}\n# BEGIN {NAME}\n# END {NAME}\n",
        f"# BEGIN {NAME}\n# END {NAME}\n# BEGIN {NAME}\n# END {NAME}\n",
    ],
)
def test_unbalanced_markers_stop_everything(text: str) -> None:
    """One marker alone, two pairs, or a pair in the wrong order: nothing is touched."""
    with pytest.raises(ConfigurationError, match="nothing was changed"):
        merge(text.encode(), BLOCK, NAME)


def test_a_line_is_a_wrapper_a_job_and_a_client(fleet: Callable[[str], Fleet]) -> None:
    """Paused jobs and clients have none; a percent sign and a space in the project's path reach the shell unharmed."""
    some = fleet("  a: {predict: {enabled: false}}\n  b: {enabled: false}\n  c: {train: {schedule: 5 4 1 * *}}\n")
    jobs = jobs_of(block(some, Path("/opt/100% ours")))
    assert [job[-3:-1] for job in map(shlex.split, jobs)] == [["train", "a"], ["train", "c"], ["predict", "c"]]
    assert jobs[1] == r"5 4 1 * * '/opt/100\% ours/bin/cron-job.sh' train c '5 4 1 * *'"


def jobs_of(lines: bytes) -> list[str]:
    """The lines without comments."""
    return [line for line in lines.decode().splitlines() if not line.startswith("#")]


def test_clients_that_may_share_an_application_share_a_line(fleet: Callable[[str], Fleet], tmp_path: Path) -> None:
    """A thousand that are due at one minute are one process that waits, not a thousand; who they are is kept."""
    said = "train: {enabled: false}, predict: {schedule: 0 3 * * *"
    ids = [f"c{number}" for number in range(1000)]
    clients = "".join(f"  {client_id}: {{{said}}}}}\n" for client_id in ids)
    some = fleet(f"{clients}  alone: {{{said}, batch: false}}}}\n  later: {{{said.replace('3', '4')}}}}}\n")
    assert [shlex.split(job)[-3:] for job in jobs_of(block(some, Path("/opt/bc4all")))] == [
        ["predict", "alone", "0 3 * * *"],
        ["predict", "-", "0 3 * * *"],
        ["predict", "later", "0 4 * * *"],
    ]
    file = tmp_path / "together.json"
    assert clients_of_line(some, file, "predict", "0 3 * * *") == ids  # lines that were printed
    file.write_text(together(some))
    fewer = fleet(f"  c0: {{{said.replace('3', '5')}}}}}\n  alone: {{{said}, batch: false}}}}\n")
    assert clients_of_line(fewer, file, "predict", "0 3 * * *") == ids  # as they were installed
    file.unlink()
    with pytest.raises(ConfigurationError, match="crontab install"):
        clients_of_line(fewer, file, "predict", "0 3 * * *")


def test_a_new_client_of_a_shared_line_changes_the_crontab(fleet: Callable[[str], Fleet]) -> None:
    """Else `crontab diff` would say that there is nothing to install."""
    said = "{train: {enabled: false}, predict: {schedule: 0 3 * * *}}"
    two = block(fleet(f"  a: {said}\n  b: {said}\n"), ROOT)
    three = block(fleet(f"  a: {said}\n  b: {said}\n  c: {said}\n"), ROOT)
    assert jobs_of(two) == jobs_of(three)
    assert two != three


def test_a_line_does_the_job_of_those_that_are_still_there(
    fleet: Callable[[str], Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the line's minute and date. A removed client is named, and the exit code is 2; a paused one is left out."""
    asked: list[tuple[object, ...]] = []

    def run_now(self: Operations, fleet: Fleet, *what: object) -> int:
        """Remember what was to be run."""
        asked.append(what)
        return 0

    monkeypatch.setattr(Operations, "run_now", run_now)
    monkeypatch.setattr("bc4all.schedule.operations.redirect", lambda log, limit: None)
    monkeypatch.setattr("bc4all.cli.runs.ROOT", tmp_path)
    monkeypatch.setenv("DATA_PREFIX", str(tmp_path / "data"))
    monkeypatch.setenv("BC4ALL_STATE", str(tmp_path / "state"))
    (tmp_path / "cron").mkdir()
    (tmp_path / "cron" / "together.json").write_text('{"predict * * * * *": ["a", "gone", "paused"]}')
    some = fleet("  a:\n  paused:\n  new:\n")
    with Operations.opened() as operations:
        operations.history.pause(ClientId("paused"), "predict", "now")
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    done = CliRunner().invoke(main, ["cron-line", "predict", "-", "* * * * *", "--config", str(some.path)])
    ((job, days, trigger, _, at, not_before),) = asked
    assert not_before == 0
    assert (job, list(days), trigger) == ("predict", ["a"], "cron")  # type: ignore[call-overload]
    assert at in (before, before + timedelta(minutes=1))
    assert days["a"] == some.clients[ClientId("a")].timing("predict").day(at)  # type: ignore[index, arg-type]
    assert "gone: the configuration has no such client any more" in done.output
    assert done.exit_code == 2


@pytest.mark.parametrize(("late", "fields"), [(0, "0 3 * * *"), (59, "*/5 * * * *"), (40 * 60, "0 3 1 * 4")])
def test_what_a_line_starts_knows_the_lines_minute(late: int, fields: str) -> None:
    """However late it looks at the clock: else cron's run and the scheduler's would be two of one minute."""
    due = next(
        firings(fields, ZoneInfo(system_zone()), datetime(2026, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    )
    assert minute_of_line(fields, due + timedelta(seconds=late)) == due


@pytest.mark.parametrize("fields", ["", "client_0", "0 3 31 2 *"])
def test_a_line_that_is_not_crons_has_its_own_minute(fields: str) -> None:
    """One of an older installation, or one that was started by hand."""
    now = datetime(2026, 1, 1, 4, 5, 6, 7, tzinfo=UTC)
    assert minute_of_line(fields, now) == datetime(2026, 1, 1, 4, 5, tzinfo=UTC)


def test_a_client_in_another_zone_is_refused(fleet: Callable[[str], Fleet]) -> None:
    """cron would start it at the wrong hour; a zone of another name with the same clock is none."""
    with pytest.raises(ConfigurationError, match=r"Asia/Tokyo.*bc4all scheduler"):
        block(fleet("  a: {timezone: Asia/Tokyo}\n"), ROOT)
    assert same_time(ZoneInfo("Europe/Zurich"), ZoneInfo("Europe/Busingen"))
    assert not same_time(ZoneInfo("Europe/London"), ZoneInfo("Africa/Abidjan"))  # equal in winter alone


def test_zones_are_compared_once_each(fleet: Callable[[str], Fleet], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many jobs there are: to compare two takes the hours of two years."""
    compared = []
    monkeypatch.setattr(crontab, "same_time", lambda one, other: compared.append(one.key) or same_time(one, other))
    said = "train: {schedule: 0 3 * * *}"
    clients = "".join(f"  c{number}: {{timezone: UTC, {said}}}\n" for number in range(9))
    with pytest.raises(ConfigurationError, match="there are clients in Asia/Tokyo"):
        block(fleet(f"{clients}  far: {{timezone: Asia/Tokyo, {said}}}\n"), Path("/opt/bc4all"))
    assert sorted(compared) == sorted({"UTC", "Asia/Tokyo"})


def test_crontab_and_scheduler_agree_for_a_year(fleet: Callable[[str], Fleet]) -> None:
    """The minutes of each line, read as crontab(5) says, are those at which the scheduler's agenda has the job due."""
    some = fleet(
        "".join(f"  c{number}:\n" for number in range(20))
        + "  often: {predict: {schedule: '*/17 3-9/2 * * 1-5'}}\n"
        + "  days: {predict: {schedule: '7 4 1,15 * 1'}}\n"
    )
    if not same_time(ZoneInfo(system_zone()), ZoneInfo("UTC")):
        pytest.skip(
            "the plain reading of crontab(5) in test_schedule knows UTC alone, which is not this machine's zone"
        )
    start, days = datetime(2026, 1, 1, tzinfo=UTC), 365
    agenda = Agenda()
    agenda.replace(dict(due_timings(some.clients.values(), ())), start)
    end = start + timedelta(days=days, seconds=-1)
    found: dict[tuple[str, str], list[datetime]] = {}
    at = agenda.next
    while at and at <= end:
        for due in agenda.due(at):
            found.setdefault((due.client, due.job), []).append(due.at)
        at = agenda.next
    several, seen = json.loads(together(some)), 0
    for *fields, _, job, whose, again in map(shlex.split, jobs_of(block(some, ROOT))):
        assert " ".join(fields) == again
        for client in several[f"{job} {again}"] if whose == "-" else [whose]:
            assert found[client, job] == due_minutes(again, days), again
            seen += 1
    assert seen == 44


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A `crontab` that behaves as a script says: how the real one fails can be had in no other way."""

    def make(script: str) -> Path:
        program = tmp_path / "bin" / "crontab"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return program

    return make


@pytest.mark.parametrize("command", ["install", "remove", "diff"])
def test_an_unreadable_crontab_is_not_replaced(
    stand_in: Callable[[str], Path], fleet: Callable[[str], Fleet], tmp_path: Path, command: str
) -> None:
    """`crontab -l` that fails for another reason than having none ends with an error, and nothing is written."""
    stand_in(f'[ "$1" = -l ] || touch {tmp_path}/written; echo "cannot open: Permission denied" >&2; exit 1')
    options = ["--config", str(fleet("  a:\n").path)] if command != "remove" else []
    done = CliRunner().invoke(main, ["crontab", command, *options])
    assert done.exit_code == 75
    assert "Permission denied" in done.output
    assert not (tmp_path / "written").exists()


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A copy of the project's code in a folder of its own, with spaces in its name."""
    root = tmp_path / "folder of ours"
    for folder in ("bc4all", "bin", "conf", "cron", "jobs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "environment*"))
    (root / ".venv").symlink_to(ROOT / ".venv")
    return root


def command(installation: Path) -> str:
    """`bc4all` of a copy of the code, for a shell."""
    return f'PYTHONPATH="{installation}" "{installation}/.venv/bin/python" -m bc4all.cli.main'


def in_private_spool(script: str, spool: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script where crontabs are files below `spool`, and this machine's own ones are out of sight."""
    spool.mkdir(exist_ok=True)
    mount = f'mount --bind "{spool}" /var/spool/cron/crontabs && {script}'
    command = ["unshare", "--mount", "/bin/sh", "-c", mount]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, cwd=spool, capture_output=True, text=True, check=False)


@pytest.fixture
def private_cron(tmp_path: Path) -> Path:
    """A spool folder of this test's for Debian's cron."""
    if not shutil.which("cron") or not shutil.which("crontab"):
        pytest.skip("Debian's cron is not on this machine (apt-get install cron)")
    if os.geteuid() != 0 or in_private_spool("true", tmp_path / "probe").returncode:
        pytest.skip("only root may give cron a private crontab here, so as not to touch the machine's own")
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o730)
    shutil.chown(spool, group="crontab")
    return spool


def test_install_and_remove_with_the_real_crontab(
    private_cron: Path, installation: Path, fleet: Callable[[str], Fleet]
) -> None:
    """Into a crontab full of foreign lines, twice, with a change between, and out again: the foreign lines stay."""
    program = f"{command(installation)} crontab"
    (private_cron.parent / "foreign").write_bytes(FOREIGN)
    file = fleet("  a:\n  b:\n").path
    script = f'''crontab "{private_cron.parent}/foreign" && {program} diff --config "{file}"; [ $? = 1 ] || exit 9
        {program} install --config "{file}" && crontab -l > "{private_cron.parent}/first" && {program} install \
        --config "{file}" && {program} diff --config "{file}" && crontab -l > "{private_cron.parent}/second" &&
        {program} remove && {program} remove && crontab -l > "{private_cron.parent}/third"'''
    done = in_private_spool(script, private_cron, DATA_PREFIX="/data of ours")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, third = ((private_cron.parent / name).read_bytes() for name in ("first", "second", "third"))
    assert first == second == FOREIGN + (installation / "cron" / "bc4all.crontab").read_bytes()
    assert third == FOREIGN
    settings = installation / "cron" / "environment"
    assert "DATA_PREFIX='file:///data of ours'" in settings.read_text()
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600


@pytest.mark.parametrize("clients", ["a", "ab"])
def test_debians_cron_fires_a_line(
    private_cron: Path, installation: Path, fleet: Callable[[str], Fleet], clients: str
) -> None:
    """cron itself starts the wrapper in its bare environment; the run is in the history, logged, with its exit code.

    The clients have no data, which the job says in its log: how a sound one runs is tested in tests/spark.
    """
    every = "{predict: {schedule: '* * * * *'}, train: {enabled: false}}"
    file = fleet("".join(f"  {client}: {every}\n" for client in clients)).path
    log = f"{'a' if clients == 'a' else '_batch'}/cron.log"
    state, prefix = private_cron.parent / "state", private_cron.parent / "data"
    prefix.mkdir()
    # cron is ended as soon as there is a finished run, with whatever it started.
    script = f'''{command(installation)} crontab install --config "{file}" || exit 9
        cron -f & cron=$!
        for i in $(seq 150); do
            grep -qs "{clients[-1]}: predict of .* failed" "{state}/logs/{log}" && break
            sleep 1
        done
        kill $cron; crontab -r'''
    begun = time.time()
    settings = {"DATA_PREFIX": str(prefix), "BC4ALL_STATE": str(state), "SPARK_LOCAL_IP": "127.0.0.1"}
    done = in_private_spool(script, private_cron, **settings)
    assert (state / "logs" / log).exists(), done.stdout + done.stderr
    listed = in_private_spool(f"{command(installation)} runs --client-id a --json", private_cron, **settings)
    run = yaml.safe_load(listed.stdout)[0]
    assert (run["trigger"], run["state"], run["exit_code"]) == ("cron", "failed", 1), run
    assert "no champion" in run["error"]
    assert datetime.fromisoformat(run["scheduled_for"]).second == 0
    assert begun - 60 < datetime.fromisoformat(run["scheduled_for"]).timestamp() < time.time()
    assert "no champion" in Path(run["log"]).read_text()


def test_kubernetes_gets_the_same_times(fleet: Callable[[str], Fleet]) -> None:
    """One CronJob a client and job, with the schedule and zone of `bc4all next`, and names that Kubernetes takes."""
    some = fleet("  Shop_1: {timezone: Asia/Tokyo}\n  shop-1: {train: {enabled: false}, predict: {retries: 7}}\n")
    some = some.model_copy(update={"scheduler": SchedulerSettings(spark_options=["--conf", "a=b"])})
    text = manifests(some, Pod("registry.example/bc4all:1", {"DATA_PREFIX": "s3a://x"}))
    jobs = list(yaml.safe_load_all(text))
    assert "&id" not in text
    assert len(jobs) == 3
    names = {job["metadata"]["name"] for job in jobs}
    assert len(names) == 3
    for job, (client, kind) in zip(
        jobs, [("Shop_1", "train"), ("Shop_1", "predict"), ("shop-1", "predict")], strict=True
    ):
        timing = some.clients[client].timing(kind)
        spec = job["spec"]
        assert (spec["schedule"], spec["timeZone"]) == (timing.expression, timing.zone.key)
        container = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        assert {"name": "TZ", "value": timing.zone.key} in container["env"]
        assert container["args"] == [kind, "--client-id", client, "--", "--conf", "a=b"]
        assert container["resources"]["requests"] == {"cpu": "1", "memory": "4Gi"}
        job_spec = spec["jobTemplate"]["spec"]
        assert job_spec["backoffLimit"] == timing.retries
        assert job_spec["template"]["spec"]["activeDeadlineSeconds"] == timing.timeout  # of each try, not of all
        assert "activeDeadlineSeconds" not in job_spec
        for_good = job_spec["podFailurePolicy"]["rules"][1]["onExitCodes"]
        assert for_good == {"operator": "NotIn", "values": [0, 3, 75, 137]}
        kubernetes_validate.validate(job, "1.31", strict=True)


def test_a_prediction_knows_of_a_training_of_its_minute(fleet: Callable[[str], Fleet]) -> None:
    """By the minute at which it is due itself, in the client's zone; not where trainings are switched off."""
    at = "{schedule: 0 3 1 * *}"
    clients = fleet(f"  a: {{timezone: UTC, train: {at}}}\n  b: {{timezone: UTC, train: {{enabled: false}}}}\n").clients
    first, second = datetime(2026, 2, 1, 3, tzinfo=UTC), datetime(2026, 2, 2, 3, tzinfo=UTC)
    assert [crontab.trained_at(clients[client], at) for client in "ab" for at in (first, second)] == [
        True,
        *[False] * 3,
    ]


def test_no_pod_is_given_a_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would find it empty."""
    monkeypatch.setenv("DATA_PREFIX", str(tmp_path))
    done = CliRunner().invoke(main, ["crontab", "print", "--format", "kubernetes"])
    assert done.exit_code == 2
    assert "DATA_PREFIX is a folder of this machine, which no pod sees" in done.stderr


@pytest.mark.parametrize("file", ["cron/bc4all-scheduler.service"])
def test_systemd_takes_the_service(file: str, tmp_path: Path) -> None:
    """As it stands, but for the folder and the user, which are each installation's own."""
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("systemd is not on this machine (apt-get install systemd)")
    service = tmp_path / Path(file).name
    text = (ROOT / file).read_text().replace("User=bc4all\n", "").replace("/opt/bc4all/.venv/bin/bc4all", "/bin/true")
    service.write_text(text.replace("/opt/bc4all", str(tmp_path)))
    done = subprocess.run([program, "verify", "--man=no", str(service)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if service.name in line]) == (0, [])


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True))
def test_kubernetes_takes_every_name(client_id: str) -> None:
    """Any client id becomes a DNS label of at most 52 characters, and two that differ stay two."""
    name = resource_name(client_id, "predict")
    assert len(name) <= 52
    assert name.strip("-") == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert client_id == client_id.lower() or name != resource_name(client_id.lower(), "predict")
