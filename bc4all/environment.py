"""What driver and executors run on: Python, Java, the packages that a worker needs; and whether they agree.

Imports the standard library alone, so that a Python worker can tell what it lacks, and bin/submit.sh answers at once.
"""

import os
import platform
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from bc4all.errors import ConfigurationError

PYTHON, JAVA = (3, 11), 17  # the oldest that will do
WORKER_PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "numba")

SHIP_IT = "ship the environment: make env-archive, then see docs/cluster.md"


@dataclass(frozen=True)
class Host:
    """What one executor (or the driver) runs on.

    `versions` of python and each worker package, "" where missing; `free_bytes` of memory; `clock` in seconds since
    1970, when asked.
    """

    name: str
    versions: Mapping[str, str]
    free_bytes: int
    clock: float


def worker_versions() -> dict[str, str]:
    """The versions of this Python and of the packages that a worker needs; "" for what is not installed."""
    found = {"python": platform.python_version()}
    for package in WORKER_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found


def this_host() -> Host:
    """What the calling process runs on; runs in Python workers, too."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Host(socket.gethostname(), worker_versions(), free, time.time())


def faults(host: Host, driver: Host) -> list[str]:
    """How a host's versions keep it from working with the driver's: equal up to the minor version they must be."""
    found = []
    for name, wanted in driver.versions.items():
        there = host.versions.get(name, "")
        if not there:
            found.append(f"{name} is not installed")
        elif _minor(there) != _minor(wanted):
            found.append(f"{name} is {there}, the driver's {wanted}")
    return found


def check_hosts(hosts: list[Host], driver: Host) -> None:
    """Raise ConfigurationError, naming the first host that cannot work with the driver and why."""
    for host in hosts:
        wrong = faults(host, driver)
        if wrong:
            raise ConfigurationError(f"executor {host.name}: {'; '.join(wrong)}", remedy=SHIP_IT)


def java_version() -> str:
    """The version of the Java that spark-submit will start. Raises ConfigurationError for none, or one too old."""
    home = os.environ.get("JAVA_HOME")
    program = os.path.join(home, "bin", "java") if home else shutil.which("java")
    remedy = f"install Java {JAVA} or newer (apt-get install openjdk-17-jre-headless), or set JAVA_HOME"
    if not program or not os.access(program, os.X_OK):
        raise ConfigurationError("there is no Java", program or "PATH", remedy)
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "((\d+)[^"]*)"', said)
    if not found or int(found[2]) < JAVA:
        raise ConfigurationError(f"Java is {found[1] if found else 'unknown'}", program, remedy)
    return found[1]


def check_python() -> None:
    """Raise ConfigurationError where the calling Python is too old."""
    wanted = ".".join(map(str, PYTHON))
    here = platform.python_version()
    if _minor(here) < PYTHON:
        raise ConfigurationError(f"Python is {here}", remedy=f"use {wanted} or newer: set BC4ALL_PYTHON")


def refuse_connect(settings: Mapping[str, str], options: Sequence[str]) -> None:
    """Raise ConfigurationError where environment or options ask for Spark Connect, which has no broadcast variables."""
    asked = settings.get("SPARK_REMOTE") or settings.get("SPARK_CONNECT_MODE_ENABLED")
    if asked or any(option.partition("=")[0] == "--remote" for option in options):
        raise ConfigurationError(
            "Spark Connect has no broadcast variables, which the jobs need",
            "--remote or SPARK_REMOTE",
            "submit to the cluster itself: bin/submit.sh … -- --master spark://HOST:7077",
        )


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
