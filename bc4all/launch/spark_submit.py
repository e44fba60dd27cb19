"""A job's request -> the command line of spark-submit, which this process then becomes.

Nothing of Spark is imported here: a wrong argument is answered without Java.
"""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import click

from bc4all.config.category_map import CATEGORY_MAPS
from bc4all.config.tuned import tuned_folder
from bc4all.environment import java_version, refuse_connect
from bc4all.errors import ConfigurationError
from bc4all.job_kinds import JOB_KINDS
from bc4all.launch import class_archive
from bc4all.launch.bundle import frozen_bundle
from bc4all.launch.spark_options import SparkOptions
from bc4all.layout import Layout
from bc4all.project import ROOT
from bc4all.redaction import has_password
from bc4all.request import JobRequest
from bc4all.starter import tell_launched, tell_to
from bc4all.state import State
from bc4all.variables import (
    CONFIG_FILE,
    DATA_PREFIX,
    LOG_FORM,
    MASTER,
    RESULTS,
    STATE_FOLDER,
    TERMINAL_COLUMNS,
    TRACKING_URI,
)

ENVIRONMENT = "environment"  # what --archives FILE#environment unpacks to on every executor

_LOCAL = "local[*,4]"  # 4: a task whose Python worker dies is tried again, as it would be on a cluster

# Else one thread of Spark's dies of it, and the job waits for that thread for ever.
_EXIT_WITHOUT_MEMORY = "-XX:+ExitOnOutOfMemoryError"
# A job is over before most of its code has paid for Java's second compiler, which takes the cores from what works: it
# waits for 40 times as many calls. That is a quarter less CPU for a client of 5,660 products, and for four millions.
# Without that compiler a small client is quicker still, and four millions are slower.
_SECOND_COMPILER_LATER = (
    "-XX:Tier4InvocationThreshold=200000",
    "-XX:Tier4MinInvocationThreshold=24000",
    "-XX:Tier4CompileThreshold=600000",
    "-XX:Tier4BackEdgeThreshold=1600000",
)
_VERSION = re.compile(r"^spark-core_[\d.]+-(\d+(?:\.\d+)+)")  # Spark's, in a jar's name; a vendor's own follows it
_DRIVER_JAVA = "spark.driver.defaultJavaOptions"


def spark_submit(request: JobRequest, argv: list[str]) -> list[str]:
    """Return the spark-submit command line for a job whose own arguments are `argv`.

    Raises ConfigurationError where a driver on another machine would have to be told a password.
    """
    options = SparkOptions(request.spark_options)
    if options.value("--master") is None:
        options.add("--master", master(request))
    if options.value("--name") is None:
        options.add("--name", f"bc4all {request.job} {request.day}")
    if options.has_archive(ENVIRONMENT):
        options.default("spark.pyspark.python", f"./{ENVIRONMENT}/bin/python")
    if not master(request).startswith("local"):
        options.default(f"spark.executorEnv.{LOG_FORM}", "json")
    java = [_EXIT_WITHOUT_MEMORY]
    if _DRIVER_JAVA in options.given:
        options.add_java(_DRIVER_JAVA, _EXIT_WITHOUT_MEMORY)
    if options.value("--deploy-mode") == "cluster":
        for folder in (request.config.parent / CATEGORY_MAPS, tuned_folder(request.config)):
            if folder.is_dir():
                told = f"a driver on another machine does not see {folder}"
                raise ConfigurationError(told, remedy="use --deploy-mode client")
        if request.write:
            told = f"a driver on another machine cannot write beside {request.config}"
            raise ConfigurationError(told, remedy="leave --write out, or use --deploy-mode client")
        options.extend("--files", str(request.config.absolute()))  # which come to lie in the driver's working folder
        if argv:  # of two options, the last counts
            argv = [*argv, "--config", request.config.name, JOB_KINDS[request.job].date_option, request.day]
        for name, value in _driver_environment(request).items():
            options.default(f"spark.yarn.appMasterEnv.{name}", value)
            options.default(f"spark.kubernetes.driverEnv.{name}", value)
    else:
        options.default("spark.pyspark.driver.python", sys.executable)
        if master(request).startswith("local"):  # whose tasks run in this Java; a client's driver elsewhere does little
            java += _SECOND_COMPILER_LATER
        temporary = os.environ.get("TMPDIR", "")
        if temporary and not re.search(r"\s", temporary):  # Java asks for its own setting
            java.append(f"-Djava.io.tmpdir={temporary}")
        if shares_classes(request):
            java += class_archive.java_options()
            options.add("--properties-file", str(class_archive.SETTINGS))
    options.default(_DRIVER_JAVA, " ".join(java))
    program = Path(sys.executable).parent / "spark-submit"
    job = ROOT / "jobs" / f"{request.job}.py"
    options.extend("--py-files", str(frozen_bundle()))
    return [str(program), *options.words, str(job), *argv]


def shares_classes(request: JobRequest) -> bool:
    """Return whether the driver can use the class archive: a local one, with the project's settings alone."""
    given = SparkOptions(request.spark_options).given.keys()
    own = {"--properties-file", "--load-spark-defaults", _DRIVER_JAVA}
    plain = "SPARK_CONF_DIR" not in os.environ and not own & given
    return plain and master(request).startswith("local") and class_archive.is_usable()


def master(request: JobRequest) -> str:
    """Return the master of the options, else $BC4ALL_MASTER, else this machine."""
    return SparkOptions(request.spark_options).value("--master") or os.environ.get(MASTER) or _LOCAL


def _driver_environment(request: JobRequest) -> dict[str, str]:
    """Return what a driver on another machine must know of this one's environment.

    Raises ConfigurationError on a password.
    """
    told = {
        DATA_PREFIX: Layout.from_environment().prefix,
        TRACKING_URI: os.environ.get(TRACKING_URI, ""),
    }
    for name, value in told.items():
        refuse_password(name, value, "--deploy-mode cluster")
    return {name: value for name, value in told.items() if value} | {
        CONFIG_FILE: request.config.name,
        STATE_FOLDER: "_state",  # in the driver's working folder: locks are among the processes of one machine
        LOG_FORM: "json",
    }


def refuse_password(name: str, value: str, where: str) -> None:
    """Raise ConfigurationError where a setting that others will see is a URI with a password."""
    if has_password(value):
        raise ConfigurationError(
            f"{name} holds a password, which process lists, manifests and Spark's pages would show",
            where,
            "leave it out of the URI, and give it to the driver's host as docs/cluster.md says",
        )


def check_spark_home(environment: Mapping[str, str]) -> None:
    """Raise ConfigurationError where $SPARK_HOME has no Spark, or one of another minor version than this project's."""
    home = environment.get("SPARK_HOME")
    if not home:
        return
    remedy = "unset it: the project brings its own Spark"
    if not os.access(os.path.join(home, "bin", "spark-submit"), os.X_OK):
        raise ConfigurationError(f"SPARK_HOME is {home}, where there is no Spark", remedy=remedy)
    ours = metadata.version("pyspark")
    found = {found[1] for jar in Path(home, "jars").glob("spark-core_*.jar") if (found := _VERSION.search(jar.name))}
    if found and not any(version.split(".")[:2] == ours.split(".")[:2] for version in found):
        there = ", ".join(sorted(found))
        raise ConfigurationError(f"SPARK_HOME is {home}, Spark {there}; this is written for {ours}", remedy=remedy)


def _log_form(master: str) -> str:
    """$BC4ALL_LOG, or text for people: on a terminal and in local mode. A cluster's logs are for machines."""
    given = os.environ.get(LOG_FORM)
    if given in ("text", "json"):
        return given
    return "text" if sys.stdout.isatty() or master.startswith("local") else "json"


def become_spark_submit(request: JobRequest, argv: list[str]) -> int:
    """Replace this process by spark-submit; return an exit code only where it cannot be started."""
    try:
        refuse_connect(os.environ, SparkOptions(request.spark_options).given)
        state = State.from_environment(Layout.from_environment())
        java_version()
        check_spark_home(os.environ)
        command = spark_submit(request, argv)
        # Where no starter watches: an application of this machine's driver tells to a file of its own.
        told_by_hand = RESULTS not in os.environ and request.job in JOB_KINDS
        told_to = state.by_hand(request.job) if told_by_hand else None
    except ConfigurationError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    if sys.stdout.isatty():
        os.environ[TERMINAL_COLUMNS] = str(shutil.get_terminal_size().columns)
    os.environ[LOG_FORM] = _log_form(master(request))
    if master(request).startswith("local"):  # no other machine has to reach this driver, or its page
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = importlib.util.find_spec("pyspark")
    if spark and spark.origin:  # Spark's own search for it stumbles over spaces in the project's path
        os.environ.setdefault("SPARK_HOME", str(Path(spark.origin).parent))
    os.environ[CONFIG_FILE] = str(request.config.absolute())  # the bundle does not know the project's folder
    settings = class_archive.NO_FOLDER if shares_classes(request) else class_archive.CONF
    os.environ.setdefault("SPARK_CONF_DIR", str(settings))
    if SparkOptions(request.spark_options).value("--deploy-mode") != "cluster":
        if told_to:
            tell_to(told_to, request.job, request.day)
        tell_launched()
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - an argument list, and no shell; signals and exit code pass through
