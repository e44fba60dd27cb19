"""One client's effective configuration, and the fleet of all of them: what the rest of the package works with.

`fleet_file` makes them of conf/clients.yaml.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, InstanceOf, PlainValidator, ValidationError

from bc4all.config.category_map import CategoryMap
from bc4all.config.estimators import did_you_mean, model_faults
from bc4all.config.model_defaults import RANDOM_FOREST
from bc4all.config.model_settings import AUTO, BlendSettings, ModelChoice, as_blend
from bc4all.config.settings import (
    AbstainSettings,
    ClientSettings,
    DriftSettings,
    FeatureKinds,
    JobSettings,
    KeepSettings,
    PromotionSettings,
    SchedulerSettings,
    TrainSettings,
    feature_kinds,
    plain_message,
)
from bc4all.config.timing import Timing
from bc4all.config.tuned import TunedModel
from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId
from bc4all.job_kinds import SCHEDULED_JOBS
from bc4all.kinds import TEXT

_Id = Annotated[ClientId, PlainValidator(ClientId)]  # pydantic makes it of text


class Client(BaseModel):
    """One client's effective configuration."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    id: _Id
    features: FeatureKinds
    model: ModelChoice = RANDOM_FOREST
    model_params: dict[str, Any] = {}
    category_separator: str | None = None  # between the parts of a category that is a path
    category_map: InstanceOf[CategoryMap] | None = None  # of the file beside the configuration, if there is one
    enabled: bool = True
    max_quarantine: float = 0.05  # share of rows that may be refused
    promotion: PromotionSettings = PromotionSettings()
    drift: DriftSettings = DriftSettings()
    abstain: AbstainSettings | None = None  # None: every product counts as answered
    refit: bool | None = None  # None: where there is text
    keep_versions: int = 10  # the newest, beside the champion, the one before it and the challenger
    timezone: str | None = None  # None: the zone of the machine that starts the jobs
    labels: dict[str, str] = {}  # by which people group clients
    train: TrainSettings = TrainSettings()
    predict: JobSettings = JobSettings()

    def timing(self, job: str) -> Timing:
        """Return when `train` or `predict` is due, enabled or not, every setting in force."""
        settings: JobSettings = getattr(self, job)
        return settings.timing(self.id, job, self.timezone)

    def due(self, job: str) -> Timing | None:
        """Return the timing of a job; None where client or job is not enabled."""
        settings: JobSettings = getattr(self, job)
        return self.timing(job) if self.enabled and settings.enabled is not False else None

    @property
    def model_name(self) -> str:
        """The model in a few words."""
        return self.model.name if isinstance(self.model, BlendSettings) else self.model

    @property
    def refits(self) -> bool:
        """Whether the model to use is fitted once more, on all rows."""
        return TEXT in self.features.values() if self.refit is None else self.refit

    @property
    def blend(self) -> BlendSettings | None:
        """The model as a blend, of one classifier or more; None for `auto`, which finds its own."""
        return None if self.model == AUTO else as_blend(self.model, self.model_params)

    @property
    def sha(self) -> str:
        """A short digest of what decides the results: a job's time is not among it."""
        decides = self.model_dump(
            exclude={"timezone", "category_map", "drift", "promotion", "keep_versions", "labels", *SCHEDULED_JOBS}
        )
        decides["features"] = list(self.features.items())  # in order
        decides["category_map"] = self.category_map.renamings if self.category_map else ()
        canonical = json.dumps(decides, sort_keys=True, default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def overridden(self, features: Sequence[Any] | None = None, model_params: dict[str, Any] | None = None) -> "Client":
        """Return this client with the command line's features, and its parameters over the file's.

        Raises ConfigurationError, naming the option, where they would not do in the file.
        """
        changes: dict[str, Any] = {}
        faults: list[str] = []
        if features is not None:
            faults += [f"--features: {fault}" for fault in _type_faults(features=features)]
            if not faults:  # a name that the file has, alone, keeps its kind
                changes["features"] = {
                    name: self.features.get(name, kind) if name in features else kind
                    for name, kind in feature_kinds(features).items()
                }
        found = [] if model_params is None else _type_faults(model_params=model_params)
        if not found and not (features is None and model_params is None):
            changes["model_params"] = {**self.model_params, **(model_params or {})}
            kinds = changes.get("features", self.features)
            found = [fault for _, fault in model_faults(self.model, changes["model_params"], kinds)]
        faults += [f"{'--features' if model_params is None else '--model-params'}: {fault}" for fault in found]
        if faults:
            raise ConfigurationError("\n".join(faults))
        return self.model_copy(update=changes)


class Fleet(BaseModel):
    """Every client of a configuration file."""

    model_config = ConfigDict(frozen=True)

    path: Path
    clients: dict[_Id, Client]
    tuned: dict[_Id, TunedModel] = {}  # of those that have one, in force or hidden
    own_models: dict[_Id, tuple[str, ...]] = {}  # by client: the keys of its own entry that hide a tuned model
    scheduler: SchedulerSettings = SchedulerSettings()
    keep: KeepSettings = KeepSettings()

    @property
    def enabled(self) -> list[Client]:
        """The clients that `--all` means, in the file's order."""
        return [client for client in self.clients.values() if client.enabled]

    def select(self, client_ids: Sequence[ClientId]) -> list[Client]:
        """Return the clients of these ids, each once; a paused one too, since it was asked for by name.

        Raises ConfigurationError for ids that the file does not have.
        """
        unknown = [i for i in client_ids if i not in self.clients]
        if unknown:
            hints = [f"there is no client {i!r}{did_you_mean(i, list(self.clients))}" for i in unknown]
            raise ConfigurationError("; ".join(hints), str(self.path), "add it under `clients:`")
        return [self.clients[i] for i in dict.fromkeys(client_ids)]


def _type_faults(**said: Any) -> list[str]:
    try:
        ClientSettings.model_validate(said)
    except ValidationError as error:
        return [plain_message(fault["msg"]) for fault in error.errors()]
    return []
