"""What bin/submit.sh runs: check the arguments, build the bundle when it is stale, become spark-submit.

Nothing of Spark is imported here: `--help` and a wrong argument answer without Java.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import click

import bc4all
from bc4all import class_archive
from bc4all.arguments import job_command
from bc4all.category_map import CATEGORY_MAPS
from bc4all.environment import java_version, refuse_connect
from bc4all.errors import ConfigurationError
from bc4all.job_kinds import JOB_KINDS
from bc4all.layout import Layout
from bc4all.project import ROOT
from bc4all.redaction import has_password
from bc4all.request import LOG_FORM, TERMINAL_COLUMNS, JobArguments

ENVIRONMENT = "environment"  # what --archives FILE#environment unpacks to on every executor
# Two ways to say the same to spark-submit.
_SETTINGS = {
    "--master": "spark.master",
    "--deploy-mode": "spark.submit.deployMode",
    "--name": "spark.app.name",
    "--archives": "spark.archives",
    "--files": "spark.files",
    "--py-files": "spark.submit.pyFiles",
}
_LOCAL = "local[*,4]"  # 4: a task whose Python worker dies is tried again, as it would be on a cluster
_SWITCHES = (  # all other options have a value
    *("--verbose", "-v", "--supervise", "--load-spark-defaults"),
    *("--version", "--help", "-h"),
)
# Else one thread of Spark's dies of it, and the job waits for that thread for ever.
_EXIT_WITHOUT_MEMORY = "-XX:+ExitOnOutOfMemoryError"
_DRIVER_JAVA = "spark.driver.defaultJavaOptions"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest that zip can say: equal code makes an equal bundle


def build_bundle(root: Path = ROOT) -> Path:
    """Zip the package to `dist/bc4all-<version>.zip` where that is missing or older than a source file."""
    bundle = root / "dist" / f"bc4all-{bc4all.__version__}.zip"
    sources = sorted((root / "bc4all").rglob("*.py"))
    newest = max(path.stat().st_mtime for path in [root / "bc4all", *sources])
    if bundle.exists() and bundle.stat().st_mtime > newest:
        return bundle
    bundle.parent.mkdir(exist_ok=True)
    unfinished = bundle.with_name(f"{bundle.name}.{os.getpid()}")  # another submission may be building it, too
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sources:
            entry = zipfile.ZipInfo(source.relative_to(root).as_posix(), _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, source.read_bytes())
    unfinished.replace(bundle)
    return bundle


def frozen_bundle(root: Path = ROOT) -> Path:
    """The bundle under a name that only equal code has: a job imports from it for as long as it runs.

    Without it, a job that runs while the code is changed, and another job started, would read half of each.
    """
    bundle = build_bundle(root)
    content = bundle.read_bytes()
    frozen = bundle.parent / "bundles" / hashlib.sha256(content).hexdigest()[:16] / bundle.name
    if not frozen.exists():
        frozen.parent.mkdir(parents=True, exist_ok=True)
        unfinished = frozen.with_name(f"{frozen.name}.{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(frozen)
    return frozen


def spark_submit(arguments: JobArguments, argv: list[str]) -> list[str]:
    """The spark-submit command line for a job whose own arguments are `argv`.

    Raises ConfigurationError where a driver on another machine would have to be told a password.
    """
    options = _Options(arguments.spark_options)
    if options.value("--master") is None:
        options.add("--master", master(arguments))
    if options.value("--name") is None:
        options.add("--name", f"bc4all {arguments.job} {arguments.day}")
    if options.has_archive(ENVIRONMENT):
        options.default("spark.pyspark.python", f"./{ENVIRONMENT}/bin/python")
    if not master(arguments).startswith("local"):
        options.default(f"spark.executorEnv.{LOG_FORM}", "json")
    java = [_EXIT_WITHOUT_MEMORY]
    if _DRIVER_JAVA in options.given:
        options.add_java(_DRIVER_JAVA, _EXIT_WITHOUT_MEMORY)
    if options.value("--deploy-mode") == "cluster":
        if (arguments.config.parent / CATEGORY_MAPS).is_dir():
            told = f"a driver on another machine does not see {arguments.config.parent / CATEGORY_MAPS}"
            raise ConfigurationError(told, remedy="use --deploy-mode client")
        if arguments.write:
            told = f"a driver on another machine cannot write {arguments.config}"
            raise ConfigurationError(told, remedy="leave --write out, or use --deploy-mode client")
        options.extend("--files", str(arguments.config.resolve()))  # which come to lie in the driver's working folder
        if argv:  # of two options, the last counts
            argv = [*argv, "--config", arguments.config.name, JOB_KINDS[arguments.job].date_option, arguments.day]
        for name, value in _driver_environment(arguments).items():
            options.default(f"spark.yarn.appMasterEnv.{name}", value)
            options.default(f"spark.kubernetes.driverEnv.{name}", value)
    else:
        options.default("spark.pyspark.driver.python", sys.executable)
        temporary = os.environ.get("TMPDIR", "")
        if temporary and not re.search(r"\s", temporary):  # Java asks for its own setting
            java.append(f"-Djava.io.tmpdir={temporary}")
        if shares_classes(arguments):
            java += class_archive.java_options()
            options.add("--properties-file", str(class_archive.SETTINGS))
    options.default(_DRIVER_JAVA, " ".join(java))
    program = Path(sys.executable).parent / "spark-submit"
    job = ROOT / "jobs" / f"{arguments.job}.py"
    options.extend("--py-files", str(frozen_bundle()))
    return [str(program), *options.words, str(job), *argv]


def shares_classes(arguments: JobArguments) -> bool:
    """Whether the driver can take its classes from the archive: a local one, with the project's settings alone."""
    given = _Options(arguments.spark_options).given.keys()
    own = {"--properties-file", "--load-spark-defaults", _DRIVER_JAVA}
    plain = "SPARK_CONF_DIR" not in os.environ and not own & given
    return plain and master(arguments).startswith("local") and class_archive.is_usable()


def master(arguments: JobArguments) -> str:
    """The master of the options, else $BC4ALL_MASTER, else this machine."""
    return _Options(arguments.spark_options).value("--master") or os.environ.get("BC4ALL_MASTER") or _LOCAL


def _driver_environment(arguments: JobArguments) -> dict[str, str]:
    """What a driver on another machine must know of this one's environment. Raises ConfigurationError on a password."""
    told = {
        "DATA_PREFIX": Layout.from_environment().prefix,
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI", ""),
    }
    for name, value in told.items():
        refuse_password(name, value, "--deploy-mode cluster")
    return {name: value for name, value in told.items() if value} | {
        "BC4ALL_CONFIG": arguments.config.name,
        "BC4ALL_STATE": "_state",  # in the driver's working folder: locks are among the processes of one machine
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


def _log_form(master: str) -> str:
    """$BC4ALL_LOG, or text for people: on a terminal and in local mode. A cluster's logs are for machines."""
    given = os.environ.get(LOG_FORM)
    if given in ("text", "json"):
        return given
    return "text" if sys.stdout.isatty() or master.startswith("local") else "json"


class _Options:
    """spark-submit options, to which only what the user left open is added. Of two alike, the last counts."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    @property
    def given(self) -> dict[str, str]:
        """What the options say, by flag (--master) or setting (spark.master)."""
        found = {}
        words = iter(self.words)
        for word in words:
            name, has_value, value = word.partition("=")
            if not has_value and name not in _SWITCHES:
                value = next(words, "")
            if name in ("--conf", "-c"):
                name, _, value = value.partition("=")
            found[name] = value
        return found

    def value(self, flag: str) -> str | None:
        """What a flag says, or else the setting that means the same."""
        given = self.given
        return given.get(flag, given.get(_SETTINGS[flag]))

    def has_archive(self, name: str) -> bool:
        return any(archive.endswith(f"#{name}") for archive in (self.value("--archives") or "").split(","))

    def add(self, flag: str, value: str) -> None:
        self.words = [flag, value, *self.words]

    def extend(self, flag: str, value: str) -> None:
        """Add to a list that the options may have already: of two, spark-submit would take the last alone."""
        before = self.value(flag)
        self.words += [flag, f"{value},{before}" if before else value]

    def add_java(self, setting: str, option: str) -> None:
        """Put an option of Java before those that a setting has: of two that disagree, Java takes the last."""
        self.words += ["--conf", f"{setting}={option} {self.given[setting]}"]

    def default(self, setting: str, value: str) -> None:
        """--conf setting=value, unless the options set it already."""
        if setting not in self.given:
            self.add("--conf", f"{setting}={value}")


def _submit(arguments: JobArguments) -> int:
    argv = sys.argv[2:]
    return become_spark_submit(arguments, argv[: argv.index("--")] if "--" in argv else argv)


def become_spark_submit(arguments: JobArguments, argv: list[str]) -> int:
    """Replace this process by spark-submit; return an exit code only where it cannot be started."""
    try:
        refuse_connect(os.environ, _Options(arguments.spark_options).given)
        java_version()
        command = spark_submit(arguments, argv)
    except ConfigurationError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    if sys.stdout.isatty():
        os.environ[TERMINAL_COLUMNS] = str(shutil.get_terminal_size().columns)
    os.environ[LOG_FORM] = _log_form(master(arguments))
    if master(arguments).startswith("local"):  # nobody else has to reach this driver, or its page
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = importlib.util.find_spec("pyspark")
    if spark and spark.origin:  # Spark's own search for it stumbles over spaces in the project's path
        os.environ.setdefault("SPARK_HOME", str(Path(spark.origin).parent))
    os.environ["BC4ALL_CONFIG"] = str(arguments.config.resolve())  # the bundle does not know the project's folder
    settings = class_archive.NO_FOLDER if shares_classes(arguments) else class_archive.CONF
    os.environ.setdefault("SPARK_CONF_DIR", str(settings))
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - an argument list, and no shell; signals and exit code pass through


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(bc4all.__version__, message="%(version)s")
def main() -> None:
    """Start a Spark job: bin/submit.sh JOB OPTIONS [-- any spark-submit option]."""


for _job in JOB_KINDS:
    main.add_command(job_command(_job, _submit))

if __name__ == "__main__":
    main(prog_name="bin/submit.sh")
