"""Drivers whose Java has little memory: what fits comes through, and what does not ends the job in words."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from bc4all.starter import read_report
from tests.conftest import QUICK_JAVA, ROOT
from tests.faults.small_heap import HEAP_MB, OPTIONS

ROOM_MB = 400  # characters of one product's title, of which Java makes more than its heap


def run_alone(*command: str, seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, with a Java of its own; in a session of its own, so that nothing of it is left."""
    settings = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(ROOT / "conf"), **environment}
    settings.pop("PYSPARK_GATEWAY_PORT", None)
    process = subprocess.Popen(
        command,
        env=settings,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    family = [psutil.Process(process.pid)]
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        family += family[0].children(recursive=True)
        for one in family:
            one.kill()
        output, _ = process.communicate()
        raise AssertionError(f"still running after {seconds:.0f} s:\n{output}") from None
    return subprocess.CompletedProcess(command, process.returncode, output)


def test_a_model_of_half_the_heap_comes_back() -> None:
    """Fitted in a task, brought to the driver, and shared with the tasks that evaluate it; it is scikit-learn's own."""
    done = run_alone(sys.executable, "-m", "tests.faults.small_heap", seconds=240)
    assert done.returncode == 0, done.stdout
    size, _, rest = done.stdout.splitlines()[-1].partition(" MB, ")
    assert int(size) > HEAP_MB / 2 - 10
    assert rest == "the same, right of 1.00"


def deliver_a_giant(prefix: Path) -> Path:
    """Deliver products of which one has a title that no heap here can hold; return the configuration."""
    folder = prefix / "train" / "client_id=x"
    folder.mkdir(parents=True)
    ids = [f"p{number}" for number in range(20)]
    columns = {"product_id": ids, "category_id": ["a", "b"] * 10, "title": ["t"] * 19 + ["a" * (ROOM_MB << 20)]}
    # Whatever takes it apart, its rows go through Java.
    pq.write_table(pa.table(columns), folder / "a.parquet", compression="gzip", use_dictionary=False)
    config = prefix / "clients.yaml"
    config.write_text("defaults: {features: [{name: title, kind: text}]}\nclients:\n  x:\n")
    return config


def test_a_java_without_memory_ends_the_job(prefix: Path) -> None:
    """At once, with exit code 3, by which it counts as lost; the Python driver goes with it, without a result."""
    config, results = deliver_a_giant(prefix), prefix / "results"
    submit = [str(ROOT / "bin" / "submit.sh"), "train", "--client-id", "x", "--config", str(config)]
    mark = {"DATA_PREFIX": str(prefix), "BC4ALL_RESULTS": str(results)}
    options = ["--driver-memory", f"{HEAP_MB}m", "--driver-java-options", QUICK_JAVA]
    done = run_alone(*submit, "--", *options, seconds=180, **mark)
    assert done.returncode == 3, done.stdout
    assert "Terminating due to java.lang.OutOfMemoryError" in done.stdout
    assert "Traceback" not in done.stdout
    end = time.monotonic() + 30
    while any(is_of(process, prefix) for process in psutil.process_iter()):
        assert time.monotonic() < end, "the Python driver goes on without its Java"
        time.sleep(0.2)
    told = read_report(results)
    assert (told.driver_runs, told.begun, told.results) == (True, {"x"}, {})


def is_of(process: psutil.Process, prefix: Path) -> bool:
    """Whether a process works on a data prefix, and is not this one."""
    try:
        return process.pid != os.getpid() and process.environ().get("DATA_PREFIX") == str(prefix)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


APPLICATION = """
import sys
from pathlib import Path
from bc4all.jobs.application import run_application
from bc4all.request import JobRequest
sys.exit(run_application(JobRequest("train", ("x",), False, "2026-01-31", Path(sys.argv[1]), max_parallel=1)))
"""


def test_a_driver_whose_java_has_ended_says_so_in_a_line(prefix: Path) -> None:
    """And may be tried again: where Java is the child, as in a managed service, its exit code is not the job's."""
    config = deliver_a_giant(prefix)
    options = f"{OPTIONS} --driver-java-options -XX:+ExitOnOutOfMemoryError pyspark-shell"
    command = [sys.executable, "-c", APPLICATION, str(config)]
    done = run_alone(*command, seconds=180, PYSPARK_SUBMIT_ARGS=options, DATA_PREFIX=str(prefix))
    assert done.returncode == 75, done.stdout
    after = done.stdout.partition("Terminating due to java.lang.OutOfMemoryError")[2].splitlines()[1:]
    told = "it ran out of memory (raise --driver-memory), or was killed; run it again"
    assert after == [f"the driver's Java has ended ({told})"]
