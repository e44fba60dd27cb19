"""What Python workers import, held against the contracts that import-linter keeps in the source."""

import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copytree

import pandas as pd

from bc4all.jobs.context import JobContext
from bc4all.jobs.predict_job import predict
from bc4all.jobs.train_job import train
from tests.conftest import ROOT, make_client

CONTRACTS = {
    module: set(contract["forbidden_modules"])
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract["type"] == "forbidden"
    for module in contract["source_modules"]
}
BROUGHT_BY_OTHERS = {"yaml", "rich"}  # by numba and by scikit-learn, where they are installed
# Spark pickles a function of `__main__` by value; one of this module would make the worker import it.
LOADED = """
def loaded(frames):
    import sys
    import pandas
    for _ in frames:
        yield pandas.DataFrame({"module": sorted(sys.modules)})
"""


def roots(modules: set[str]) -> set[str]:
    """The packages that modules belong to."""
    return {name.partition(".")[0] for name in modules}


def rooms(modules: set[str]) -> set[str]:
    """The rooms, and modules of the ground floor, among them."""
    return {name.split(".")[1] for name in modules if name.startswith("bc4all.")}


def test_a_bare_interpreter_can_import_the_workers_rooms() -> None:
    """All of model/ and reading/, without Spark, MLflow, the command line or a configuration."""
    files = [file for room in ("model", "reading") for file in sorted((ROOT / "bc4all" / room).glob("[a-z]*.py"))]
    names = [f"bc4all.{file.parent.name}.{file.stem}" for file in files]
    program = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not roots(loaded) & (CONTRACTS["bc4all.model"] - BROUGHT_BY_OTHERS)
    assert not rooms(loaded) & {"cli", "config", "data", "jobs", "launch", "learning", "registry", "schedule"}


def test_a_worker_loads_no_more_than_it_needs(job: JobContext, prefix: Path, sample: Path) -> None:
    """Workers that have fitted a blend and scored with it know no MLflow, no command line and no configuration."""
    copytree(sample / "train" / "client_id=client_0", prefix / "train" / "client_id=client_0")
    copytree(sample / "prediction" / "client_id=client_0", prefix / "prediction" / "client_id=client_0")
    context, namespace = job.spark.sparkContext, {"__name__": "__main__"}
    exec(LOADED, namespace)  # noqa: S102 - the text above
    context.environment["WORKERS_OF"] = "this test"  # those of other tests have loaded what tests import
    try:
        linear = {
            "classifier": "sklearn.linear_model.LogisticRegression",
            "transform": ["sklearn.impute.SimpleImputer", "sklearn.preprocessing.StandardScaler"],
        }
        trees = {"classifier": "sklearn.ensemble.ExtraTreesClassifier", "params": {"n_estimators": 5}}
        client = make_client("client_0", model={"blend": [linear, trees], "calibrate": "temperature"}, model_params={})
        train(job, client)
        predict(job, client)
        fitting = context.parallelize(["__import__('sys').modules.keys()"] * 8, 4).map(eval).map(list).collect()
        some = job.spark.range(8, numPartitions=4)
        scoring: pd.DataFrame = some.mapInPandas(namespace["loaded"], "module string").toPandas()  # type: ignore[arg-type]
    finally:
        del context.environment["WORKERS_OF"]
    loaded = {name for names in fitting for name in names} | set(scoring["module"])
    assert {"bc4all.learning.fitting", "bc4all.model.ranking", "bc4all.reading.worker"} <= loaded
    assert not roots(loaded) & (CONTRACTS["bc4all.learning.fitting"] - BROUGHT_BY_OTHERS)
    assert not rooms(loaded) & {"cli", "config", "launch", "registry", "schedule"}
