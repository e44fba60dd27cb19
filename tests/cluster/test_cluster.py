"""Both jobs on a cluster of separate processes: the same rows as on a laptop, whatever happens to a worker."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tests.cluster.conftest import CLIENTS, Cluster, Project, json_events, on_cluster
from tests.conftest import published_rows

MakeProject = Callable[[str], Project]


def assert_equal_output(one: Project, other: Project) -> None:
    """Every client's published rows are the same in both projects, to the last bit of a score."""
    for client_id in CLIENTS:
        pd.testing.assert_frame_equal(
            published_rows(one.prefix, client_id), published_rows(other.prefix, client_id), check_exact=True
        )


def test_a_cluster_publishes_what_a_laptop_does(cluster: Cluster, archive: Path, make_project: MakeProject) -> None:
    """Trained and scored on two workers that lose one in mid-job, real clients' rows equal those of local mode."""
    local, remote = make_project("local"), make_project("remote")
    for job in ("train", "predict"):
        done = local.submit(job, "--master", "local[2]")
        assert done.returncode == 0, done.stderr
    trained = remote.submit("train", *on_cluster(cluster))
    assert trained.returncode == 0, trained.stdout + trained.stderr
    predicted = predict_and_kill_a_worker(remote, cluster)
    assert predicted.returncode == 0, predicted.stdout
    assert_equal_output(local, remote)
    print(trained.stdout, "\nERR", trained.stderr, predicted.stdout)
    assert json_events(trained.stdout)


def predict_and_kill_a_worker(project: Project, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """Run predict; kill the first worker, executor and all, as soon as a client's products have been read."""
    log = project.prefix / "predict.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            project.command("predict", *on_cluster(cluster)),
            env=project.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd="/",
        )
        while "predict: read took" not in log.read_text():
            assert running.poll() is None, log.read_text()
            time.sleep(0.05)
        cluster.workers[0].kill()
        running.wait()
    return subprocess.CompletedProcess(running.args, running.returncode, log.read_text())
