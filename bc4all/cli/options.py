"""The jobs' command line, defined once: bin/submit.sh checks it before Java starts, the job reads it again."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click

from bc4all.config.settings import feature_kinds
from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT, TRAIN, TUNE
from bc4all.logs import LEVELS
from bc4all.project import CONFIG
from bc4all.request import JobRequest
from bc4all.variables import CONFIG_FILE


class _Checked(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers alone
    """A value that `check` returns or refuses with a ConfigurationError."""

    def __init__(self, name: str, check: Callable[[str], Any]) -> None:
        self.name, self._check = name, check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._check(value)
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


def _feature_list(text: str) -> list[Any]:
    value: list[Any] = _json(text)
    try:
        feature_kinds(value)
    except ValueError as error:
        remedy = """write '["f0", {"name": "title", "kind": "text"}]'"""
        raise ConfigurationError(f"this is no JSON list of features: {error}", remedy=remedy) from error
    return value


def _parameters(text: str) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise ConfigurationError("this is not a JSON object", remedy="""write '{"n_estimators": 50}'""")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"this is not JSON: {error}", remedy="put single quotes around it") from error


JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="A JSON list instead of a table.")
CLIENT_ID = _Checked("id", ClientId)
DATE = _Checked("date", Day)

CONFIG_OPTION = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=CONFIG,
    show_default="conf/clients.yaml of the project",
    envvar=CONFIG_FILE,
    help="The configuration file.",
)

_LIMIT = click.FloatRange(0, min_open=True)
_MODEL_PARAMS = click.option(
    "--model-params",
    type=_Checked("json", _parameters),
    help="""Over the file's: '{"n_estimators": 50}'.""",
)
_OPTIONS: dict[str, list[Callable[[Any], Any]]] = {
    "train": [
        click.option(TRAIN.date_option, "day", type=DATE, help="Names the run; by default today (YYYY-MM-DD)."),
        _MODEL_PARAMS,
    ],
    "predict": [
        click.option(PREDICT.date_option, "day", type=DATE, help="Names the partition; by default today (YYYY-MM-DD)."),
        click.option("--model-version", type=click.IntRange(1), help="Use this version instead of the champion."),
        click.option("--backfilled", is_flag=True, help="Mark a past date as made of what was delivered later."),
        click.option("--force", is_flag=True, help="Score also where nothing has changed since it was published last."),
        _MODEL_PARAMS,
    ],
    "tune": [
        click.option(TUNE.date_option, "day", type=DATE, help="Names the run; by default today (YYYY-MM-DD)."),
        click.option(
            "--budget",
            type=click.IntRange(1, 10_000),
            help="Candidates a client; by default 60, or as --minutes.",
        ),
        click.option("--minutes", type=_LIMIT, help="Begin no more candidates of a client after that time."),
        click.option("--write", is_flag=True, help="Write the model beside the configuration, to tuned/<client>.yaml."),
        click.option("--max-megabytes", type=_LIMIT, help="Of a model in memory, as fitted for comparison."),
        click.option(
            "--max-fit-seconds",
            type=_LIMIT,
            help="To fit a model on one core, on 33,000 rows at most.",
        ),
        click.option("--max-score-microseconds", type=_LIMIT, help="To score a product, on one core."),
    ],
}
_SHARED = [
    click.option("--client-id", "client_ids", type=CLIENT_ID, multiple=True, help="A client; may be repeated."),
    click.option("--all", "every_client", is_flag=True, help="Every enabled client of the configuration."),
    CONFIG_OPTION,
    click.option(
        "--max-parallel",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        help="Waves of clients worked on at a time.",
    ),
    click.option("--features", type=_Checked("json", _feature_list), help="""Instead of the file's: '["f0", "f1"]'."""),
    click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        help="Of the log; by default warning on a terminal, else info.",
    ),
]
_HELP = {
    "train": "Train the clients' models and register them in MLflow.",
    "predict": "Write the five best categories of every product of the clients.",
    "tune": "Look for better models of the clients, and print them, or write them beside the configuration.",
}


def job_command(job: str, run: Callable[[JobRequest], int]) -> click.Command:
    """Return the command `job`, which exits with what `run` returns; a `run` may end the process itself."""

    def command(spark_options: tuple[str, ...], **given: Any) -> None:
        if given["every_client"] == bool(given["client_ids"]):
            raise click.UsageError("Say which clients: either --client-id ID (it may be repeated) or --all.")
        if given.get("write") and given["features"] is not None:
            raise click.UsageError("--write would put a model of --features beside the file's: change the file first.")
        given["day"] = given["day"] or Day(date.today().isoformat())
        raise SystemExit(run(JobRequest(job=job, spark_options=spark_options, **given)))

    callback: Any = click.argument("spark_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SPARK_OPTIONS]")(
        command
    )
    for option in reversed([*_SHARED[:2], *_OPTIONS[job], *_SHARED[2:]]):
        callback = option(callback)
    return click.command(job, help=_HELP[job])(callback)
