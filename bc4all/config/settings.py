"""What the configuration may say: of a client, its features, the jobs' times, the scheduler, what is kept."""

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from bc4all.column_names import RESERVED
from bc4all.config.model_settings import BlendSettings, ModelChoice
from bc4all.config.timing import (
    Timing,
    is_zone,
    local_zone,
    parse_duration,
    schedule_fault,
    spread,
)
from bc4all.identity import ClientId
from bc4all.job_kinds import JOB_KINDS, PREDICT, TRAIN
from bc4all.kinds import KINDS, NUMERIC

_DAY_S = 86400
_DEFAULTS = {
    "retries": 3,
    "retry_delay": 5 * 60,
    "timeout": 6 * 3600,
    "catch_up": "one",
    "catch_up_window": 24 * 3600,
    "batch": True,
}


def _seconds(text: Any) -> Any:
    return parse_duration(text) if isinstance(text, str) else text


_Seconds = Annotated[int, BeforeValidator(_seconds), Field(ge=1)]


def feature_kinds(said: Any) -> Any:
    """Name -> kind of `features:`, a list of names and of {name: …, kind: …}. Raises ValueError with every fault."""
    if isinstance(said, dict):  # read before
        return said
    if not isinstance(said, list | tuple) or not said:
        raise ValueError("this must be a list with at least one column's name")
    kinds: dict[str, str] = {}
    faults = []
    for item in said:
        feature = {"name": item} if isinstance(item, str) else item
        if not isinstance(feature, dict) or not {"name"} <= set(feature) <= {"name", "kind"}:
            faults.append(f"{item!r} is neither a column's name nor {{name: …, kind: {'|'.join(KINDS)}}}")
            continue
        name, kind = feature["name"], feature.get("kind", NUMERIC)
        if not isinstance(name, str) or not name:
            faults.append(f"{name!r} is no column's name")
        elif name in RESERVED:
            faults.append(f"{name!r} is no feature")
        elif name in kinds:
            faults.append(f"feature {name!r} is there twice")
        elif kind not in KINDS:
            faults.append(f"feature {name!r} is {kind!r}, which is none of {', '.join(KINDS)}")
        else:
            kinds[name] = kind
    if faults:
        raise ValueError("; ".join(dict.fromkeys(faults)))
    return kinds


FeatureKinds = Annotated[dict[str, str], BeforeValidator(feature_kinds)]


def plain_message(message: str) -> str:
    """Return a message of pydantic's as the rest of a sentence."""
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


class JobSettings(BaseModel):
    """When one job of a client is due, as `train:` or `predict:` says it; None is what was not said."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schedule: str | None = None
    enabled: bool | None = None
    retries: Annotated[int, Field(ge=0, le=20)] | None = None  # after exit code 75 alone
    retry_delay: _Seconds | None = None  # doubled from one retry to the next
    timeout: _Seconds | None = None
    catch_up: Literal["none", "one", "all"] | None = None  # what is run of the times missed while nothing ran
    catch_up_window: _Seconds | None = None
    batch: bool | None = None

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, expression: str | None) -> str | None:
        fault = schedule_fault(expression) if expression is not None else None
        if fault:
            raise ValueError(fault)
        return expression

    def timing(self, client_id: ClientId, job: str, zone: str | None) -> Timing:
        """Return what this means for a client's job, the defaults of what was not said included."""
        said = self.model_dump(exclude_none=True, include=set(_DEFAULTS))
        expression = spread(self.schedule or str(JOB_KINDS[job].schedule), client_id, job)
        return Timing(expression, ZoneInfo(zone or local_zone()), **{**_DEFAULTS, **said})


class TrainSettings(JobSettings):
    """What `train:` says."""

    first: bool | None = None  # whether a client without a model is trained when its first prediction is due


class PromotionSettings(BaseModel):
    """What `promotion:` says: when a new version takes the champion's place."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    metric: Literal["accuracy", "top_5_accuracy", "log_loss"] = "accuracy"
    min_value: float | None = None  # the worst that it may be: of log_loss the largest value
    max_regression: Annotated[float, Field(ge=0)] = 0.01  # by which it may be worse than the champion's
    mode: Literal["enabled", "dry_run", "disabled"] = "enabled"  # dry_run: says what it would do, and promotes nothing


class AbstainSettings(BaseModel):
    """What `abstain:` says: which products count as answered."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    precision: Annotated[float, Field(gt=0, lt=1)]  # the share of answered products that must surely be right
    per_category: bool = False  # with a threshold of each best category's own, where it has products enough


_WINDOWS = re.compile(r"(\d{1,3}) of (\d{1,3})")


class DriftSettings(BaseModel):
    """What `drift:` says: from which shift on, and how lasting, a client is marked."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    psi: Annotated[float, Field(gt=0)] = 0.2
    windows: str = "2 of 3"  # in so many of so many predictions
    train: bool = False  # whether the client is then trained, once in so many predictions

    @field_validator("windows")
    @classmethod
    def _is_share(cls, text: str) -> str:
        found = _WINDOWS.fullmatch(text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"{text!r} is not such as '2 of 3'")
        return text

    @property
    def counts(self) -> tuple[int, int]:
        """`windows` as numbers."""
        needed, _, looked_at = self.windows.partition(" of ")
        return int(needed), int(looked_at)


class SchedulerSettings(BaseModel):
    """What `scheduler:` says: of the scheduler, and of all runs, however started."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    max_parallel: Annotated[int, Field(ge=1, le=64)] = 2  # Spark applications at a time, however started
    port: Annotated[int, Field(ge=0, le=65535)] = 9745  # of /health and /metrics; 0 for none
    host: str = "127.0.0.1"  # the address they listen on; any but loopback's wants $BC4ALL_HEALTH_TOKEN
    grace: _Seconds = 600  # how long running jobs are waited for when the scheduler is to stop
    log_megabytes: Annotated[int, Field(ge=1)] = 20  # of one run's log; its older half goes
    spark_options: list[str] = []  # for spark-submit, as after -- of bin/submit.sh
    notify_command: Annotated[list[str], Field(min_length=1)] | None = None  # is given a notice as JSON to read
    notify_webhook: str | None = None  # is sent the same by POST

    @property
    def log_bytes(self) -> int:
        """The bytes over which a log loses its older half."""
        return self.log_megabytes * 1_000_000

    @field_validator("notify_webhook")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no http:// or https:// address")
        return url


class KeepSettings(BaseModel):
    """What `keep:` says: for how long what grows stays. Models are counted instead: `keep_versions` of a client."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    replaced: _Seconds = 3600  # a replaced partition in _trash, for readers that have it open
    history: _Seconds = 90 * _DAY_S  # runs and their logs
    prediction_runs: _Seconds = 90 * _DAY_S  # MLflow's of predictions; drift has those that it looks at, however old
    quarantine: _Seconds = 90 * _DAY_S  # refused rows, but a client's newest date
    event_logs: _Seconds = 30 * _DAY_S  # Spark's, which the history server shows


_Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\n\r]*$")]


class ClientSettings(BaseModel):
    """What `defaults:` and each client may say; None is what was not said."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    features: FeatureKinds | None = None
    model: ModelChoice | None = None
    model_params: dict[str, Any] | None = None
    enabled: bool | None = None
    max_quarantine: Annotated[float, Field(ge=0, le=1)] | None = None
    promotion: PromotionSettings | None = None
    drift: DriftSettings | None = None
    abstain: AbstainSettings | None = None
    keep_versions: Annotated[int, Field(ge=2)] | None = None
    refit: bool | None = None
    category_separator: Annotated[str, Field(min_length=1)] | None = None
    timezone: str | None = None
    train: TrainSettings | None = None
    predict: JobSettings | None = None
    labels: dict[_Label, _Label] | None = None  # by which people group clients

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str | None) -> str | None:
        if name is not None and not is_zone(name):
            raise ValueError(f"{name!r} is no time zone, such as Europe/Berlin")
        return name


# By the key under which they stand in a client's settings.
INNER: dict[str, type[BaseModel]] = {
    TRAIN.name: TrainSettings,
    PREDICT.name: JobSettings,
    "promotion": PromotionSettings,
    "drift": DriftSettings,
    "abstain": AbstainSettings,
    "model": BlendSettings,
}
RESET = {"abstain", "category_separator"}  # of which a client's null takes the defaults' back
OF_METRIC = ("min_value", "max_regression")  # which mean something else of another metric
