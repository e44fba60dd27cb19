"""Read products on a cluster that loses an executor while they are read, or starts a slow task twice.

python -m tests.cluster.reader nothing|lost|doubled PREFIX: prints, as JSON, what was counted, a digest of the
rows, and how often each task began to read. Settings for spark-submit are in $PYSPARK_SUBMIT_ARGS.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
from pyspark import TaskContext, cloudpickle
from pyspark.sql import SparkSession

from bc4all.data import feed, wave
from bc4all.data.filesystem import FileSystem
from bc4all.data.wave import read_prediction
from bc4all.jobs.session import start_session
from bc4all.layout import Layout
from tests.reading.packs import accepted_frame

_SLOW = 60  # seconds: the task's copy is done long before

Bins = Iterator[tuple[str, str, bool, int]]


def counter(fault: str, seen: Path) -> Callable[[pd.DataFrame], Bins]:
    """Return what counts rows where products are read; one task of all has something happen to it on the way.

    Each attempt of a task leaves an empty file of its name in `seen`.
    """

    def count(frame: pd.DataFrame) -> Bins:
        task = TaskContext.get()
        assert task is not None
        attempt = seen / f"{task.stageId()}.{task.partitionId()}.{task.taskAttemptId()}"
        is_begun = attempt.exists()
        attempt.touch()
        if fault != "nothing" and is_begun and is_first(seen / "fault"):  # packs of this task have left it already
            if fault == "lost":
                psutil.Process(os.getppid()).parent().send_signal(signal.SIGKILL)  # type: ignore[union-attr]
            time.sleep(_SLOW)
        yield "rows", "all", False, len(frame)

    return count


def is_first(mark: Path) -> bool:
    """Whether no process has asked this before."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def main(fault: str, prefix: Path) -> None:
    """Read the client x."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    feed.MAX_WHOLE_BYTES = 20_000  # each file is a task, and its rows are shuffled
    wave._BYTES_A_TASK = 200_000
    seen = prefix / "seen"
    seen.mkdir()
    layout = Layout.at(str(prefix))
    spark: SparkSession = start_session("reader", layout)
    files = FileSystem(spark, layout.prefix)
    found = read_prediction(spark, files, layout.prediction("x"), {"f0": "numeric"}, counter(fault, seen))
    tasks: dict[str, int] = {}
    for attempt in seen.glob("*.*.*"):
        tasks[attempt.stem] = tasks.get(attempt.stem, 0) + 1
    rows = accepted_frame(found)
    told = {
        "accepted": found.accepted_rows,
        "refused": dict(found.refusals),
        "bins": sum(count for *_, count in found.bins),
        "digest": hashlib.sha256(rows.to_csv().encode()).hexdigest(),
        "attempts": max(tasks.values()),
    }
    print(json.dumps(told))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
