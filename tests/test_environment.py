"""Versions are compared before any client starts, and what is missing is said in one line."""

import configparser
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bc4all.environment import WORKER_PACKAGES, check_hosts, java_version, refuse_connect, this_host
from bc4all.errors import ConfigurationError
from tests.conftest import ROOT


def with_version(name: str, version: str) -> str:
    """The complaint about an executor where one version differs from this process's."""
    driver = this_host("17")
    with pytest.raises(ConfigurationError) as refused:
        check_hosts([driver, replace(driver, name="far", versions={**driver.versions, name: version})], driver)
    return str(refused.value)


def test_equal_hosts_are_let_in() -> None:
    """A host like the driver passes, and so does one that differs in the patch version."""
    driver = this_host("17")
    patched = {name: f"{version}.1" for name, version in driver.versions.items()}
    check_hosts([driver, replace(driver, versions=patched)], driver)


def test_a_host_that_differs_is_named() -> None:
    """Another minor version, or a missing package, ends the job with the host, the package and what to do."""
    assert "executor far: python is 3.9.2, the driver's 3." in with_version("python", "3.9.2")
    complaint = with_version("scikit-learn", "")
    assert "executor far: scikit-learn is not installed" in complaint
    assert "make env-archive" in complaint


def test_what_is_packed_is_what_is_compared() -> None:
    """The packages of `make env-archive` are those whose versions are compared."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(setup["options.extras_require"]["worker"].split()) == set(WORKER_PACKAGES)


def test_free_memory_is_some_of_this_machines() -> None:
    """Where the system tells, what is free is more than nothing and no more than there is."""
    free = this_host("17").free_bytes
    if free is not None:
        assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_an_old_python_is_told_before_anything_else() -> None:
    """Under Python 3.9, one line and exit code 2; a stand-in says the version, for only one Python runs here."""
    pretend = "import sys; sys.version_info = (3, 9, 2); import bc4all.cli.submit"
    done = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "Python is 3.9" in done.stderr


def java(folder: Path, version: str) -> Path:
    """A JAVA_HOME whose java says that it is `version`."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(("version", "fits"), [("17.0.15", True), ("21", True), ("11.0.2", False), ("1.8.0", False)])
def test_java_must_be_17_or_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, fits: bool) -> None:
    """An old Java is named with its version and place; a stand-in says the version, for only one Java runs here."""
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path, version)))
    if fits:
        assert java_version() == version
    else:
        with pytest.raises(ConfigurationError, match=f"Java is {version}") as refused:
            java_version()
        assert str(tmp_path) in str(refused.value)


def test_no_java_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Java, the line says where it was looked for and how to get one."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"there is no Java .*install Java 17"):
        java_version()


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"SPARK_REMOTE": "sc://host"}, {}),
        ({"SPARK_CONNECT_MODE_ENABLED": "1"}, {}),
        ({"SPARK_API_MODE": "connect"}, {}),
        ({}, {"--remote": "sc://host"}),
        ({}, {"spark.remote": "sc://host"}),
        ({}, {"spark.api.mode": "connect"}),
    ],
)
def test_spark_connect_is_refused(settings: dict[str, str], options: dict[str, str]) -> None:
    """However it is asked for, Spark Connect is refused before anything starts."""
    with pytest.raises(ConfigurationError, match="broadcast"):
        refuse_connect(settings, options)
    refuse_connect({"SPARK_API_MODE": "classic"}, {"--master": "spark://host:7077"})
