"""The jobs that a client has: what each is called where, which data it reads, and when it is due by default."""

from dataclasses import dataclass


@dataclass(frozen=True)
class JobKind:
    """One kind of job, under its `name` on the command line."""

    name: str
    run_name: str  # of its MLflow runs, and their tag `job`
    experiment: str  # the family of its MLflow experiments, each with a client's id behind it
    data: str  # the folder below DATA_PREFIX with the products that it reads
    date_option: str
    schedule: str | None  # five cron fields; None for a job that only people start


TRAIN = JobKind("train", "training", "ProductCategoriesClassification", "train", "--training-date", "H H 1 * *")
PREDICT = JobKind("predict", "prediction", "ProductCategoriesPrediction", "prediction", "--inference-date", "H H * * *")
TUNE = JobKind("tune", "tuning", "ProductCategoriesTuning", "train", "--tuning-date", None)

JOB_KINDS = {kind.name: kind for kind in (TRAIN, PREDICT, TUNE)}
SCHEDULED_JOBS = tuple(kind.name for kind in JOB_KINDS.values() if kind.schedule)
