"""conf/clients.yaml -> `Fleet`, with every fault of the file told at once, where it stands.

    defaults: {features: [f0, f1], model_params: {n_estimators: 100}}
    clients:
      client_0:
      client_1: {max_quarantine: 0.1}
      client_2: {features: [{name: title, kind: text}, {name: brand, kind: category}, price]}

A client states only what differs. `model_params` are merged key by key over the defaults', unless the client has
another `model`: then they stand alone; `train`, `predict`, `promotion` and `drift` setting by setting. A tuned model
(`tuned`) stands between the two: it replaces the defaults', and a client that says `model` or `model_params` itself
does not get it. Where no model is named at all, a client of numbers alone has a forest, any other a linear model.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bc4all.config.blocks import read_block, unknown_key
from bc4all.config.category_map import CategoryMap, read_category_map
from bc4all.config.clients import Client, Fleet
from bc4all.config.estimators import Place, model_faults
from bc4all.config.model_defaults import chosen_model, default_model
from bc4all.config.settings import OF_METRIC, RESET, ClientSettings, KeepSettings, SchedulerSettings
from bc4all.config.tuned import TunedModel, read_tuned
from bc4all.config.yaml_source import YamlSource, read_yaml
from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId
from bc4all.job_kinds import SCHEDULED_JOBS

_HIDING = ("model", "model_params")  # of a client's own entry: its tuned model is not used
_BLOCKS = ("defaults", "clients", "scheduler", "keep")


def load_fleet(path: Path, fits: bool = True) -> Fleet:
    """Read a configuration file. Raises ConfigurationError with a line `file:line:column: message` for each fault.

    Where nothing is going to be fitted, models and their parameters are not held against scikit-learn, whose import
    takes more than a second.
    """
    source = read_yaml(path)
    top = _blocks(source)
    defaults = read_block(source, ("defaults",), top.get("defaults"), ClientSettings) or ClientSettings()
    judged: dict[str, list[tuple[Place, str]]] = {}
    clients: dict[ClientId, Client] = {}
    spelled: dict[str, ClientId] = {}
    tuned: dict[ClientId, TunedModel] = {}
    own_models: dict[ClientId, tuple[str, ...]] = {}
    for key, said in top["clients"].items():
        at = ("clients", key)
        try:
            client_id = ClientId(key)
        except ConfigurationError as error:
            source.add_fault(at, str(error))
            continue
        other = spelled.setdefault(client_id.lower(), client_id)
        if other != client_id:  # some storages and MLflow's databases would take them for one
            source.add_fault(at, f"client ids {other!r} and {client_id!r} differ in case alone")
        own = read_block(source, at, said, ClientSettings)
        if own is not None:
            own_models[client_id] = tuple(key for key in _HIDING if getattr(own, key) is not None)
            category_map, found = _read_beside(source, client_id)
            if found:
                tuned[client_id] = found
            in_force = None if own_models[client_id] else found
            client = _merge(source, client_id, defaults, own, in_force)
            clients[client_id] = client.model_copy(update={"category_map": category_map})
            if fits:
                _check_estimator(source, client, own, in_force, judged)
    if fits:
        _check_default_model(source, defaults, clients.values())
    scheduler = read_block(source, ("scheduler",), top.get("scheduler"), SchedulerSettings)
    keep = read_block(source, ("keep",), top.get("keep"), KeepSettings)
    source.raise_faults()
    return Fleet(
        path=path,
        clients=clients,
        tuned=tuned,
        own_models=own_models,
        scheduler=scheduler or SchedulerSettings(),
        keep=keep or KeepSettings(),
    )


def _check_default_model(source: YamlSource, defaults: ClientSettings, clients: Iterable[Client]) -> None:
    """Add the faults of a default model that no client has: it would be found wrong only when one does."""
    shared = default_model(defaults, defaults.features or {})
    if shared in [client.model for client in clients]:
        return
    for place, message in model_faults(shared, defaults.model_params or {}, defaults.features or {}):
        source.add_fault(("defaults", *place), message)


def _blocks(source: YamlSource) -> dict[str, Any]:
    """Return the file's blocks, `clients` among them. Raises ConfigurationError where that is missing."""
    blocks = source.value if isinstance(source.value, dict) else {}
    for key in blocks:
        if key not in _BLOCKS:
            source.add_fault((key,), unknown_key((key,), _BLOCKS))
    if not isinstance(blocks.get("clients"), dict):
        missing = "`clients:` is missing: a mapping of client ids to what differs from `defaults:`"
        source.add_fault(("clients",), missing)
        source.raise_faults()
    return blocks


def _read_beside(source: YamlSource, client_id: ClientId) -> tuple[CategoryMap | None, TunedModel | None]:
    """Read what lies in files of a client's own beside the configuration."""
    category_map = tuned = None
    try:
        category_map = read_category_map(source.path, client_id)
    except ConfigurationError as error:
        source.add_fault(("clients", client_id), str(error))
    try:
        tuned = read_tuned(source.path, client_id)
    except ConfigurationError as error:
        source.add_fault(("clients", client_id), str(error))
    return category_map, tuned


def _merge(
    source: YamlSource, client_id: ClientId, defaults: ClientSettings, own: ClientSettings, tuned: TunedModel | None
) -> Client:
    features = own.features or defaults.features or {}
    model, params = chosen_model(defaults, own, features)
    if tuned:
        model, params = tuned.model, {}
    shared, mine = (said.model_dump(exclude_none=True, exclude_unset=True) for said in (defaults, own))
    for name in RESET & own.model_fields_set:
        mine[name] = mine.get(name)
    merged = {job: shared.get(job, {}) | mine.get(job, {}) for job in SCHEDULED_JOBS}
    for name in ("promotion", "drift"):
        blocks = [getattr(said, name) for said in (defaults, own)]
        theirs, its = (block.model_dump(exclude_unset=True) if block else {} for block in blocks)
        if its.get("metric", theirs.get("metric")) != theirs.get("metric"):
            theirs = {key: value for key, value in theirs.items() if key not in OF_METRIC}
        merged[name] = theirs | its
    merged["labels"] = (defaults.labels or {}) | (own.labels or {})
    said = {**shared, **mine, "model": model, "model_params": params, **merged}
    if "features" not in said:
        places = (("clients", client_id, "features"), ("defaults", "features"))
        if not any(place in source.places for place in places):
            source.add_fault(("clients", client_id), "`features:` is missing, here and in `defaults:`")
    return Client(id=client_id, **{**said, "features": features})


def _check_estimator(
    source: YamlSource,
    client: Client,
    own: ClientSettings,
    tuned: TunedModel | None,
    judged: dict[str, list[tuple[Place, str]]],
) -> None:
    """Note what scikit-learn would refuse, at the key that says it; equal choices are checked once."""
    choice = json.dumps(
        [client.model_dump(include={"model", "model_params"}), client.features], sort_keys=True, default=str
    )
    if choice not in judged:
        judged[choice] = model_faults(client.model, client.model_params, client.features)
    for place, message in judged[choice]:
        if tuned:
            remedy = "remove the file, or name a model in the client's own entry"
            source.add_fault(("clients", client.id), f"{tuned.file}: {message} ({remedy})")
            continue
        its = own.model_params or {} if place[0] == "model_params" else own.model
        mine = place[-1] in its if isinstance(its, dict) else its is not None
        source.add_fault((*(("clients", client.id) if mine else ("defaults",)), *place), message)
