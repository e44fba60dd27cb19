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
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bc4all.errors import ConfigurationError

JAVA = 17  # the oldest that will do; for Python see __init__.py
_OTHER_JAVA = f"install Java {JAVA} or newer (apt-get install openjdk-17-jre-headless), or set JAVA_HOME"
WORKER_PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "numba", "xxhash")

SHIP_IT = "ship the environment: make env-archive, then see docs/cluster.md"


@dataclass(frozen=True)
class Host:
    """What one executor (or the driver) runs on.

    `versions` of python and each worker package, "" where missing; `java` of its JVM; `free_bytes` that a new process
    could have, where the system tells; `clock` in seconds since 1970, when asked.
    """

    name: str
    versions: Mapping[str, str]
    java: str
    free_bytes: int | None
    clock: float


def worker_versions() -> dict[str, str]:
    """Return the versions of this Python and of the packages that a worker needs; "" for what is not installed."""
    found = {"python": platform.python_version()}
    for package in WORKER_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found


def this_host(java: str) -> Host:
    """Return what the calling process runs on, beside a JVM of version `java`; runs in Python workers, too."""
    return Host(socket.gethostname(), worker_versions(), java, _free_bytes(), time.time())


def _free_bytes() -> int | None:
    """Linux's MemAvailable, or what a container's limit leaves where that is less."""
    kilobytes = re.search(r"MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"))
    known = [int(kilobytes[1]) * 1024] if kilobytes else []
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        known.append(int(limit) - int(used))
    return min(known, default=None)


def _text(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError:  # another system has none
        return ""


def faults(host: Host, driver: Host) -> list[str]:
    """Return how a host's versions differ from the driver's: up to the minor version they must be equal."""
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


def java() -> str:
    """Return the Java that spark-submit will start. Raises ConfigurationError where there is none."""
    home = os.environ.get("JAVA_HOME")
    program = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if not program or not os.access(program, os.X_OK):
        raise ConfigurationError("there is no Java", program or "PATH", _OTHER_JAVA)
    return program


def java_version() -> str:
    """Return Java's version. Raises ConfigurationError where it is too old."""
    program = java()
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "((\d+)[^"]*)"', said)
    if not found or int(found[2]) < JAVA:
        raise ConfigurationError(f"Java is {found[1] if found else 'unknown'}", program, _OTHER_JAVA)
    return found[1]


def refuse_connect(environment: Mapping[str, str], options: Mapping[str, str]) -> None:
    """Raise ConfigurationError where environment or options ask for Spark Connect, which has no broadcast variables.

    `options` are spark-submit's, by flag or setting.
    """
    asked = [environment.get("SPARK_REMOTE"), environment.get("SPARK_CONNECT_MODE_ENABLED")]
    asked += [options.get("--remote"), options.get("spark.remote")]
    modes = environment.get("SPARK_API_MODE"), options.get("spark.api.mode")
    if any(asked) or "connect" in modes:
        raise ConfigurationError(
            "Spark Connect has no broadcast variables, which the jobs need",
            "--remote or SPARK_REMOTE",
            "submit to the cluster itself: bin/submit.sh … -- --master spark://HOST:7077",
        )


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
