"""The classes that a driver's Java loads, as one file that it maps into memory: every job starts seconds sooner.

Java's class data sharing. `python -m bc4all.launch.class_archive`, a part of `make setup`, trains and predicts a small
client, has Java write down what it has loaded at its end, and puts that beside the environment whose jars it is of. A
Java of another build, or with other jars, goes without it by itself.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bc4all.environment import java
from bc4all.errors import ConfigurationError
from bc4all.project import ROOT, SUBMIT
from bc4all.variables import DATA_PREFIX, PYTHON

CONF = ROOT / "conf"
SETTINGS = CONF / "spark-defaults.conf"
ARCHIVE = Path(sys.prefix) / "spark.jsa"  # empty where Java could not make it
# Java takes no archive with a folder of files among the places of its classes, as CONF is otherwise.
NO_FOLDER = ARCHIVE.with_name("no-spark-conf")
_READ_BY_JAVA = (".xml", ".properties", ".sh")
_LOG = "log4j2.properties"
_JOB_TIMEOUT_S = 600  # seconds for a job; they take some twenty


def is_usable() -> bool:
    """Return whether there is an archive, and nothing in CONF that Spark needs to find, such as a core-site.xml."""
    there = ARCHIVE.is_file() and ARCHIVE.stat().st_size > 0
    nameable = not {":", '"'} & set(str(ARCHIVE))  # Java takes a colon for the end of a name
    return there and nameable and not any(file.suffix in _READ_BY_JAVA and file.name != _LOG for file in CONF.iterdir())


def java_options(archive: str = "") -> list[str]:
    """Return Java's options for the archive, without CONF, in quotes where Spark's launcher needs them for a space."""
    # What does not suit an archive would be told in every log; Spark's own log is not concerned.
    options = [
        archive or f"-XX:SharedArchiveFile={ARCHIVE}",
        "-Xlog:disable",
        f"-Dlog4j2.configurationFile={(CONF / _LOG).as_uri()}",
    ]
    return [f'"{option}"' if " " in option else option for option in options]


def make() -> None:
    """Make the archive. Raises ConfigurationError where there is no Java, SubprocessError where a step fails."""
    from bc4all.data.sample_data import write_sample_data  # with pandas: bin/submit.sh need not wait for it

    unfinished = ARCHIVE.with_suffix(f".{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="bc4all-classes-") as folder:
        names = list(write_sample_data(Path(folder), clients=1, rows=1000, seed=1))
        config = Path(folder) / "clients.yaml"
        config.write_text(json.dumps({"defaults": {"features": ["f0", "f1"]}, "clients": dict.fromkeys(names)}))
        own = ("PATH", "HOME", "JAVA_HOME", "TMPDIR", "LANG")  # nobody's MLflow, cluster or data
        environment = {name: os.environ[name] for name in own if name in os.environ}
        environment |= {DATA_PREFIX: folder, PYTHON: sys.executable, "SPARK_CONF_DIR": str(NO_FOLDER)}
        try:
            for job, archive in (("train", "-Dno.archive=yet"), ("predict", f"-XX:ArchiveClassesAtExit={unfinished}")):
                options = f"spark.driver.defaultJavaOptions={' '.join(java_options(archive))}"
                command = [str(SUBMIT), job, "--all", "--config", str(config)]
                command += ["--", "--properties-file", str(SETTINGS), "--conf", options]
                subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=True, timeout=_JOB_TIMEOUT_S
                )
            command = [java(), f"-XX:SharedArchiveFile={unfinished}", "-version"]
            subprocess.run(command, capture_output=True, text=True, check=True)
            unfinished.replace(ARCHIVE)
        finally:
            unfinished.unlink(missing_ok=True)


def main() -> None:
    """Make the archive; where that cannot be, say so, and leave an empty file: jobs work without one."""
    click.echo("writing down Spark's classes, so that every job starts sooner (once, about a minute)")
    try:
        make()
    except (ConfigurationError, subprocess.SubprocessError, OSError) as error:
        told = str(getattr(error, "stderr", "") or error).strip().rpartition("\n")[2]
        click.echo(f"jobs will start without Spark's classes in one file: {told}", err=True)
        ARCHIVE.unlink(missing_ok=True)  # of other jars, and read-only
        ARCHIVE.touch()


if __name__ == "__main__":
    main()
