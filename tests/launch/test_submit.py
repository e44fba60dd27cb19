"""bin/submit.sh before Java starts: its arguments, the bundle, and the command that it becomes."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pyspark
import pytest

from bc4all.errors import ConfigurationError
from bc4all.launch import class_archive
from bc4all.launch.bundle import build_bundle, frozen_bundle
from bc4all.launch.spark_submit import check_spark_home, master, shares_classes, spark_submit
from bc4all.request import JobRequest
from tests.conftest import ROOT

SUBMIT = ROOT / "bin" / "submit.sh"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """bin/submit.sh with a PATH on which there is no Java."""
    env = {"PATH": "/usr/bin:/bin", "JAVA_HOME": "/nowhere", "HOME": os.environ["HOME"], **environment}
    return subprocess.run([str(SUBMIT), *arguments], env=env, capture_output=True, text=True, cwd="/", check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"], ["tune", "--help"]])
def test_help_needs_no_java(arguments: list[str]) -> None:
    """Every --help answers without starting Java, from any directory."""
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "bin/submit.sh" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train"], "either --client-id ID"),
        (["train", "--all", "--client-id", "a"], "either --client-id ID"),
        (["train", "--client-id", "../x"], "is not a client id"),
        (["train", "--client-id", "a\n* * * * * rm"], "is not a client id"),
        (["predict", "--all", "--inference-date", "2026-02-30"], "is not a date"),
        (["train", "--all", "--inference-date", "2026-01-31"], "No such option"),
        (["train", "--all", "--features", "f0"], "this is not JSON"),
        (["train", "--all", "--features", "[1]"], "no JSON list of features"),
        (["train", "--all", "--model-params", "[]"], "not a JSON object"),
        (["train", "--all", "--max-parallel", "0"], "not in the range"),
        (["train", "--all", "--config", "/no.yaml"], "does not exist"),
        (["tune", "--all", "--budget", "0"], "not in the range"),
        (["tune", "--all", "--minutes", "-1"], "not in the range"),
        (["tune", "--all", "--max-megabytes", "0"], "not in the range"),
        (["tune", "--all", "--write", "--features", '["f0"]'], "change the file first"),
        (["tune", "--all", "--model-params", "{}"], "No such option"),
        (["trian", "--all"], "No such command 'trian'"),
    ],
)
def test_wrong_usage_starts_nothing(arguments: list[str], complaint: str) -> None:
    """A wrong argument is told, with exit code 2, before there is a Java to start."""
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize(
    ("options", "environment", "master"),
    [
        ((), None, "local[*,4]"),
        ((), "spark://env:7077", "spark://env:7077"),
        (("--master", "yarn"), "spark://env:7077", "yarn"),
        (("--master=k8s://x",), None, "k8s://x"),
    ],
)
def test_takes_the_master_from_options_then_environment(
    options: tuple[str, ...], environment: str | None, master: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options after -- win over BC4ALL_MASTER, which wins over local[*,4]."""
    monkeypatch.delenv("BC4ALL_MASTER", raising=False)
    if environment:
        monkeypatch.setenv("BC4ALL_MASTER", environment)
    arguments = JobRequest("train", ("a",), False, "2026-01-31", Path("c"), 4, spark_options=options)
    command = spark_submit(arguments, ["--client-id", "a"])
    given = [
        c.removeprefix("--master=")
        for i, c in enumerate(command)
        if c.startswith("--master=") or command[i - 1] == "--master"
    ]
    assert given == [master]
    assert command[-3:] == [str(ROOT / "jobs" / "train.py"), "--client-id", "a"]


def arguments_with(*options: str) -> JobRequest:
    """A training's arguments, with these options of spark-submit."""
    arguments = JobRequest("train", ("a",), False, "2026-01-31", ROOT / "conf" / "clients.yaml", 4)
    return replace(arguments, spark_options=options)


def command(*options: str) -> list[str]:
    """The command line for these options of spark-submit."""
    return spark_submit(arguments_with(*options), ["--all"])


def settings(words: list[str]) -> dict[str, str]:
    """The --conf settings of a command line."""
    pairs = [words[i + 1] for i, word in enumerate(words) if word == "--conf"]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of classes, and settings of the project's own, in which Spark's launcher meets spaces."""
    conf = tmp_path / "my conf"
    conf.mkdir()
    file = tmp_path / "my spark.jsa"
    file.write_bytes(b"classes")
    for name, value in (("ARCHIVE", file), ("CONF", conf), ("SETTINGS", conf / "spark-defaults.conf")):
        monkeypatch.setattr(class_archive, name, value)
    for name in ("SPARK_CONF_DIR", "BC4ALL_MASTER", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return file


def test_a_local_driver_takes_its_classes_from_their_archive(archive: Path) -> None:
    """Without the folder of settings, which Java would not have it with: they are named instead."""
    words = command()
    assert words[words.index("--properties-file") + 1] == str(class_archive.SETTINGS)
    options = settings(words)["spark.driver.defaultJavaOptions"]
    assert f'"-XX:SharedArchiveFile={archive}" -Xlog:disable' in options
    assert "my%20conf/log4j2.properties" in options


@pytest.mark.parametrize(
    "options",
    [
        ("--master", "spark://a:7077"),
        ("--deploy-mode", "cluster", "--master", "yarn"),
        ("--properties-file", "own.conf"),
        ("--load-spark-defaults",),
        ("--conf", "spark.driver.defaultJavaOptions=-Da=b"),
    ],
)
@pytest.mark.usefixtures("archive")
def test_other_drivers_do_without_the_archive(options: tuple[str, ...]) -> None:
    """A cluster's, and one with settings of somebody's own, find the project's settings where they were."""
    assert not shares_classes(arguments_with(*options))
    assert "SharedArchiveFile" not in " ".join(command(*options))


def test_without_an_archive_all_is_as_it_was(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None was made, Java could not make it, or the folder of settings holds what Spark must find in it."""
    assert shares_classes(arguments_with())
    monkeypatch.setenv("SPARK_CONF_DIR", "/etc/spark")
    assert not shares_classes(arguments_with())
    monkeypatch.delenv("SPARK_CONF_DIR")
    (class_archive.CONF / "core-site.xml").touch()
    assert not shares_classes(arguments_with())
    (class_archive.CONF / "core-site.xml").unlink()
    archive.write_bytes(b"")
    assert not shares_classes(arguments_with())
    archive.unlink()
    assert not shares_classes(arguments_with())


def test_a_java_that_makes_no_archive_is_no_fault(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Setting up goes on, with one line that says why, and does not try again at each `make`."""
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    class_archive.main()
    assert archive.read_bytes() == b""
    told = capsys.readouterr().err
    assert told.startswith("jobs will start without Spark's classes in one file: there is no Java (/nowhere/bin/java")
    assert list(archive.parent.glob("*.jsa")) == [archive]


@pytest.mark.parametrize("mode", ["client", "cluster"])
def test_a_java_without_memory_ends(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both modes, once, and first: a user's own options are kept, and have the last word."""
    monkeypatch.setenv("DATA_PREFIX", "/data")
    elsewhere = ("--deploy-mode", mode, "--master", "yarn")
    ours = settings(command(*elsewhere))["spark.driver.defaultJavaOptions"]
    assert ours.split()[0] == "-XX:+ExitOnOutOfMemoryError"
    own = "spark.driver.defaultJavaOptions=-XX:-ExitOnOutOfMemoryError -Da=b"
    words = command(*elsewhere, "--conf", own)
    merged = "-XX:+ExitOnOutOfMemoryError -XX:-ExitOnOutOfMemoryError -Da=b"
    assert settings(words)["spark.driver.defaultJavaOptions"] == merged
    assert words.index(f"spark.driver.defaultJavaOptions={merged}") > words.index(own)


@pytest.mark.parametrize(("master", "is_later"), [("local[*]", True), ("spark://a:7077", False), ("yarn", False)])
def test_javas_second_compiler_waits_where_the_tasks_are_the_drivers(master: str, is_later: bool) -> None:
    """Executors, which live longer, keep Java's own thresholds, and so do their drivers."""
    java = settings(command("--master", master))["spark.driver.defaultJavaOptions"]
    assert ("-XX:Tier4InvocationThreshold=200000" in java.split()) == is_later


def test_a_driver_elsewhere_cannot_write_tuned_models() -> None:
    """They would be gone with it."""
    arguments = JobRequest("tune", ("a",), False, "2026-01-31", ROOT / "conf" / "clients.yaml", 4, write=True)
    elsewhere = replace(arguments, spark_options=("--deploy-mode", "cluster", "--master", "yarn"))
    with pytest.raises(ConfigurationError, match="leave --write out"):
        spark_submit(elsewhere, ["--all", "--write"])
    assert "--write" in spark_submit(arguments, ["--all", "--write"])


@pytest.mark.parametrize("folder", ["category_map", "tuned"])
def test_a_driver_elsewhere_does_not_see_what_lies_beside_the_configuration(folder: str, tmp_path: Path) -> None:
    """Such files would be left out in silence there: it is refused."""
    (tmp_path / "clients.yaml").write_text("clients: {a: }\n")
    arguments = JobRequest("train", ("a",), False, "2026-01-31", tmp_path / "clients.yaml", 4)
    elsewhere = replace(arguments, spark_options=("--deploy-mode", "cluster", "--master", "yarn"))
    spark_submit(elsewhere, ["--all"])
    (tmp_path / folder).mkdir()
    with pytest.raises(ConfigurationError, match=rf"does not see {tmp_path / folder} \(use --deploy-mode client\)"):
        spark_submit(elsewhere, ["--all"])
    assert spark_submit(arguments, ["--all"])


def test_an_archive_brings_the_workers_python() -> None:
    """With --archives FILE#environment the workers use its Python, the driver its own; a user's setting wins."""
    shipped = settings(command("--archives", "dist/x.tar.gz#environment"))
    assert shipped["spark.pyspark.python"] == "./environment/bin/python"
    assert shipped["spark.pyspark.driver.python"] == sys.executable
    chosen = settings(command("--archives=a.zip#b,x.tar.gz#environment", "--conf", "spark.pyspark.python=python3.11"))
    assert chosen["spark.pyspark.python"] == "python3.11"
    assert "spark.pyspark.python" not in settings(command("--archives", "dist/x.tar.gz#data"))


def test_a_driver_elsewhere_is_told_what_it_must_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """In cluster mode the configuration and the places of data and MLflow go along; credentials do not."""
    monkeypatch.setenv("DATA_PREFIX", "hdfs:///data")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me@host/mlflow")
    words = command("--deploy-mode", "cluster", "--master", "yarn")
    told = settings(words)
    assert words[words.index("--files") + 1] == str(ROOT / "conf" / "clients.yaml")
    # whatever path was given here, and today as this machine has it
    assert words[-5:] == ["--all", "--config", "clients.yaml", "--training-date", "2026-01-31"]
    assert told["spark.yarn.appMasterEnv.BC4ALL_CONFIG"] == "clients.yaml"
    assert told["spark.yarn.appMasterEnv.DATA_PREFIX"] == "hdfs:///data"
    assert told["spark.kubernetes.driverEnv.DATA_PREFIX"] == "hdfs:///data"
    assert told["spark.yarn.appMasterEnv.MLFLOW_TRACKING_URI"] == "postgresql://me@host/mlflow"
    assert told["spark.executorEnv.BC4ALL_LOG"] == "json"
    assert "spark.pyspark.driver.python" not in told
    assert not [word for word in words if "secret" in word]


@pytest.mark.parametrize(
    ("prefix", "told"),
    [("abfss://data@account.dfs.core.windows.net/x", "abfss://data@account.dfs.core.windows.net/x"), ("x", "file://")],
)
def test_a_driver_elsewhere_gets_the_whole_prefix(monkeypatch: pytest.MonkeyPatch, prefix: str, told: str) -> None:
    """A container's @ is no password, and a relative prefix means the folder it means here."""
    monkeypatch.setenv("DATA_PREFIX", prefix)
    given = settings(command("--conf", "spark.submit.deployMode=cluster"))["spark.yarn.appMasterEnv.DATA_PREFIX"]
    assert given.startswith(told)
    assert given.endswith("/x")


def test_a_password_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URI with a password would stand in process lists: it is refused, not left out in silence."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/mlflow")
    with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_URI holds a password") as refused:
        command("--deploy-mode=cluster")
    assert "secret" not in str(refused.value)
    assert command("--deploy-mode", "client")


@pytest.mark.parametrize(
    "options",
    [
        ("--conf", "spark.master=yarn"),
        ("-c", "spark.master=yarn"),
        ("--conf=spark.master=yarn", "--verbose"),
        ("--master", "local", "--conf", "spark.master=k8s://x", "--master=yarn"),
    ],
)
def test_takes_a_setting_for_a_flag(options: tuple[str, ...]) -> None:
    """spark.master says what --master says; a flag wins over it, and of two flags the last."""
    words = command(*options)
    assert master(JobRequest("train", (), True, "2026-01-31", Path("c"), 4, spark_options=options)) == "yarn"
    assert words.count("local[*,4]") == 0
    assert settings(words)["spark.executorEnv.BC4ALL_LOG"] == "json"


@pytest.mark.parametrize(
    "given", [["--py-files", "mine.zip"], ["--py-files=mine.zip"], ["--conf", "spark.submit.pyFiles=mine.zip"], []]
)
def test_a_users_files_go_along(given: list[str]) -> None:
    """A list that the user gives is added to: spark-submit takes only the last of two."""
    words = command("--deploy-mode", "cluster", "--files", "a.txt", *given)
    assert words[last(words, "--files") + 1] == f"{ROOT / 'conf' / 'clients.yaml'},a.txt"
    shipped = words[last(words, "--py-files") + 1]
    assert "bc4all-" in shipped
    assert shipped.endswith(",mine.zip" if given else ".zip")


def last(words: list[str], flag: str) -> int:
    """Where the flag stands that counts for spark-submit."""
    return max(place for place, word in enumerate(words) if word == flag)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--remote", "sc://host"], "Spark Connect has no broadcast variables"), ([], "there is no Java")],
)
def test_what_cannot_work_is_said_at_once(arguments: list[str], complaint: str) -> None:
    """Spark Connect, and a machine without Java, end with exit code 2 and one line."""
    done = run("train", "--all", "--", *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert complaint in done.stderr


def test_a_prefix_that_cannot_be_is_said_before_java(tmp_path: Path) -> None:
    """A DATA_PREFIX that nothing could be read from ends with 2, as a wrong argument does."""
    done = run("train", "--all", DATA_PREFIX=str(tmp_path / "a#b"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "DATA_PREFIX has '#' in it" in done.stderr


def test_a_spark_home_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """It would end with 127 from a shell, which no rule of exit codes knows."""
    with pytest.raises(ConfigurationError, match=r"where there is no Spark \(unset it") as refused:
        check_spark_home({"SPARK_HOME": str(tmp_path / "spark-3.5")})
    assert refused.value.exit_code == 2
    check_spark_home({"SPARK_HOME": ""})
    check_spark_home({})


@pytest.mark.parametrize(
    ("there", "is_taken"),
    [
        ("{0}.9", True),
        ("{0}.0-amzn-0", True),
        ("{0}.0-SNAPSHOT", True),
        ("3.5.1-387", False),
        ("3.5.1", False),
        (None, True),
    ],
)
def test_another_sparks_version_is_told(tmp_path: Path, there: str | None, is_taken: bool) -> None:
    """A Spark of the same minor version is taken, as a cluster's own; another is refused by both versions."""
    ours = ".".join(pyspark.__version__.split(".")[:2])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "spark-submit").touch(0o755)
    if there is not None:
        (tmp_path / "jars").mkdir()
        (tmp_path / "jars" / f"spark-core_2.13-{there.format(ours)}.jar").touch()
    expected = (
        contextlib.nullcontext() if is_taken else pytest.raises(ConfigurationError, match=r"Spark 3\.5\.1; .* 4\.")
    )
    with expected:
        check_spark_home({"SPARK_HOME": str(tmp_path)})


def test_builds_the_bundle_when_it_is_stale(tmp_path: Path) -> None:
    """The zip holds the package, is the same for the same code, and is built anew only when a source is newer."""
    shutil.copytree(ROOT / "bc4all", tmp_path / "bc4all", ignore=shutil.ignore_patterns("__pycache__"))
    bundle = build_bundle(tmp_path)
    first = bundle.read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        assert "bc4all/model/kernel.py" in archive.namelist()
    os.utime(bundle, (2_000_000_000, 2_000_000_000))
    assert build_bundle(tmp_path).stat().st_mtime == 2_000_000_000
    os.utime(tmp_path / "bc4all" / "model" / "kernel.py", (2_000_000_001, 2_000_000_001))
    assert build_bundle(tmp_path).read_bytes() == first
    assert bundle.stat().st_mtime < 2_000_000_000


def test_a_running_jobs_code_stays_as_it_was(tmp_path: Path) -> None:
    """A job started after a change of the code does not touch the bundle that another one is importing from."""
    shutil.copytree(ROOT / "bc4all", tmp_path / "bc4all", ignore=shutil.ignore_patterns("__pycache__"))
    running = frozen_bundle(tmp_path)
    content = running.read_bytes()
    assert frozen_bundle(tmp_path) == running
    (tmp_path / "bc4all" / "model" / "kernel.py").write_text("changed = True\n")
    os.utime(tmp_path / "bc4all" / "model" / "kernel.py", (2_000_000_001, 2_000_000_001))
    later = frozen_bundle(tmp_path)
    assert later != running
    assert b"changed" in zipfile.ZipFile(later).read("bc4all/model/kernel.py")
    assert running.read_bytes() == content


def test_bundles_that_no_job_was_started_with_go(tmp_path: Path) -> None:
    """After a month, when another is made; one that is used stays, however old it is."""
    shutil.copytree(ROOT / "bc4all", tmp_path / "bc4all", ignore=shutil.ignore_patterns("__pycache__"))
    kernel = tmp_path / "bc4all" / "model" / "kernel.py"
    made = []
    for number in (1, 2, 3):
        kernel.write_text(f"changed = {number}\n")
        os.utime(kernel, (2_000_000_000 + number,) * 2)
        made.append(frozen_bundle(tmp_path))
        month_ago = time.time() - 40 * 86400
        os.utime(made[-1].parent, (month_ago, month_ago))
        if number == 2:
            assert frozen_bundle(tmp_path) == made[-1]
    assert [bundle.exists() for bundle in made] == [False, True, True]
