"""The fleet's schedules as lines of a crontab, between markers that are this installation's own.

What stands outside the markers is not this project's and stays byte for byte. A line is five fields, the project's
wrapper, a job, a client id and the five fields again, so that what it starts knows its minute. Clients that may share
an application and have the same fields have one line, with `TOGETHER` for the id; who they are stands in
cron/together.json, and what the wrapper needs to know in cron/environment. See crontab(5).
"""

import difflib
import hashlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from bc4all.config.clients import Client, Fleet
from bc4all.config.timing import firings, schedule_fault, system_zone
from bc4all.errors import ConfigurationError, TransientFailure
from bc4all.identity import ClientId
from bc4all.job_kinds import TRAIN
from bc4all.layout import Layout
from bc4all.schedule.agenda import due_timings
from bc4all.variables import CONFIG_FILE, DATA_PREFIX, MASTER, PYTHON, STATE_FOLDER, TRACKING_URI

# What a job may need of the environment in which the crontab was installed.
_PASSED_ON = (
    *("PATH", "LANG", "JAVA_HOME", "SPARK_CONF_DIR", "SPARK_LOCAL_IP", "HADOOP_CONF_DIR"),
    *(TRACKING_URI, MASTER, STATE_FOLDER, PYTHON),
)
TOGETHER = "-"  # which no client is called
TOGETHER_FILE = "together.json"
_MAX_LATENESS = timedelta(hours=1)  # by which what a line starts may look at the clock
_COMPARED_YEARS = 2  # for which two zones must have the same time to be one


def marker(root: Path) -> str:
    """Return what names the installation at `root` in a crontab."""
    return f"bc4all {hashlib.sha256(str(root).encode()).hexdigest()[:10]}"


def block(fleet: Fleet, root: Path) -> bytes:
    """Return the lines of every enabled client and job, with their markers.

    Raises ConfigurationError where a client lives in another time zone than cron: it would fire at the wrong hour.
    """
    zone = system_zone()
    jobs = dict(due_timings(fleet.clients.values()))
    zones = {timing.zone.key: timing.zone for timing in jobs.values()}  # few, though there are thousands of jobs
    strange = sorted(key for key, own in zones.items() if not same_time(own, ZoneInfo(zone)))
    if strange:
        raise ConfigurationError(
            f"cron knows one time zone alone, this machine's {zone}; there are clients in {', '.join(strange)}",
            str(fleet.path),
            "use bc4all scheduler, or bc4all crontab print --format kubernetes: both know zones",
        )
    wrapper = shlex.quote(str(root / "bin" / "cron-job.sh")).replace("%", r"\%")  # which cron takes for a line's end
    lines = []
    for job, fields, clients in _lines(fleet):
        if len(clients) > 1:  # who they are changes the crontab, too
            digest = hashlib.sha256(" ".join(clients).encode()).hexdigest()[:10]
            lines.append(f"# {job} of {len(clients)} clients, {TOGETHER_FILE} {digest}")
        lines.append(f"{fields} {wrapper} {job} {clients[0] if len(clients) == 1 else TOGETHER} {shlex.quote(fields)}")
    name = marker(root)
    head = [f"# BEGIN {name}", "# Made by bc4all crontab install: what is changed here is lost the next time."]
    return "\n".join([*head, *lines, f"# END {name}", ""]).encode()


def _lines(fleet: Fleet) -> Iterator[tuple[str, str, list[ClientId]]]:
    """Yield the job, the five fields and the clients of each line."""
    together: dict[tuple[str, str], list[ClientId]] = {}
    for (client_id, job), timing in due_timings(fleet.clients.values()):
        if timing.batch:
            together.setdefault((job, timing.expression), []).append(client_id)
        else:
            yield job, timing.expression, [client_id]
    for (job, fields), clients in together.items():
        yield job, fields, clients


def together(fleet: Fleet) -> str:
    """Return, as JSON, the clients of each line that has several, by its job and its five fields."""
    found = {f"{job} {fields}": clients for job, fields, clients in _lines(fleet) if len(clients) > 1}
    return json.dumps(found, indent=1) + "\n"


def clients_of_line(fleet: Fleet, file: Path, job: str, fields: str) -> list[ClientId]:
    """Return the clients of a line that has several: those of `together`, as they were when it was installed.

    Where `file` does not tell, because the lines were printed and not installed, those that have it now. Raises
    ConfigurationError where there is none.
    """
    try:
        return [ClientId(client_id) for client_id in json.loads(file.read_text())[f"{job} {fields}"]]
    except (OSError, ValueError, KeyError) as error:
        for line_job, line_fields, clients in _lines(fleet):
            if (line_job, line_fields) == (job, fields) and fleet.clients[clients[0]].timing(job).batch:
                return clients
        what = f"no client's {job} is due at {fields!r}"
        raise ConfigurationError(what, str(fleet.path), "run bc4all crontab install again") from error


def trained_at(client: Client, at: datetime) -> bool:
    """Return whether the client's training is due at a minute, by another line."""
    timing = client.due(TRAIN.name)
    return timing is not None and any(firings(timing.expression, timing.zone, at - timedelta(minutes=1), at))


def minute_of_line(fields: str, now: datetime) -> datetime:
    """Return, in UTC, the last minute of a line's five fields, at which cron has started it; else that of `now`.

    Else: where that was more than an hour ago, or the line has no fields, being of an older installation.
    """
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    if schedule_fault(fields):
        return minute
    return max(firings(fields, ZoneInfo(system_zone()), minute - _MAX_LATENESS, now), default=minute)


def same_time(one: ZoneInfo, other: ZoneInfo) -> bool:
    """Return whether the clocks of two zones agree in every hour of this year and the next ones."""
    if one.key == other.key:
        return True
    start = datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)
    hours = (start + timedelta(hours=number) for number in range(24 * 366 * _COMPARED_YEARS))
    return all(at.astimezone(one).utcoffset() == at.astimezone(other).utcoffset() for at in hours)


def split(text: bytes, name: str) -> tuple[bytes, bytes, bytes]:
    """Return a crontab as what stands before this installation's block, the block, and what stands after it.

    Raises ConfigurationError where the markers are not one pair in order.
    """
    begins = list(re.finditer(rb"^# BEGIN %s$" % re.escape(name.encode()), text, re.MULTILINE))
    ends = list(re.finditer(rb"^# END %s$\n?" % re.escape(name.encode()), text, re.MULTILINE))
    if not begins and not ends:
        return text, b"", b""
    if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].start():
        raise ConfigurationError(
            f"the crontab's markers of {name} are not one BEGIN and one END after it",
            "crontab -l",
            "mend it with crontab -e; nothing was changed",
        )
    return text[: begins[0].start()], text[begins[0].start() : ends[0].end()], text[ends[0].end() :]


def merge(text: bytes, new: bytes, name: str) -> bytes:
    """Return the crontab with the block replaced, appended, or (where `new` is empty) taken out."""
    before, old, after = split(text, name)
    if new and not old and before and not before.endswith(b"\n"):
        before += b"\n"
    return before + new + after


def read_crontab() -> bytes:
    """Return the user's crontab; empty where there is none. Raises TransientFailure where it cannot be read."""
    done = subprocess.run([_program(), "-l"], capture_output=True, check=False)
    if done.returncode == 0:
        return done.stdout
    if done.stderr.strip().startswith(b"no crontab for"):
        return b""
    said = done.stderr.decode(errors="replace").strip()
    raise TransientFailure(f"crontab -l failed: {said or f'exit code {done.returncode}'}", remedy="nothing was changed")


def write_crontab(text: bytes) -> None:
    """Replace the user's crontab. Raises TransientFailure where cron refuses it."""
    command = [_program(), "-"] if text else [_program(), "-r"]
    done = subprocess.run(command, input=text, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise TransientFailure(f"crontab refused the new lines: {said}", remedy="the crontab is as it was")


def _program() -> str:
    program = shutil.which("crontab")
    if program is None:
        raise ConfigurationError("there is no crontab", "PATH", "apt-get install cron, or use bc4all scheduler")
    return program


def difference(old: bytes, new: bytes) -> Iterator[str]:
    """Return a unified diff of two crontabs, line by line."""
    before, after = (text.decode(errors="replace").splitlines() for text in (old, new))
    return difflib.unified_diff(before, after, "crontab", "clients.yaml", lineterm="")


def environment(fleet: Fleet, layout: Layout, given: Mapping[str, str]) -> str:
    """Return what bin/cron-job.sh reads: the settings of the installing process; cron has hardly any of its own."""
    settings = {DATA_PREFIX: layout.prefix, CONFIG_FILE: str(fleet.path.absolute())}
    settings |= {name: given[name] for name in _PASSED_ON if given.get(name)}
    head = (
        "# Made by bc4all crontab install. What jobs need besides, such as credentials, belongs to environment.local.\n"
    )
    return head + "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
