"""`tuned/<client>.yaml` beside the configuration: the model that `tune --write` found for a client.

Programs write these files, people the configuration: neither changes the other's. A model that the client's own entry
names hides the tuned one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from bc4all.config.blocks import read_block
from bc4all.config.model_settings import BlendSettings
from bc4all.config.yaml_source import PlainDumper, read_yaml
from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId
from bc4all.local_files import replace_text

_HEAD = "# Written by `bin/submit.sh tune --write`. Remove this file to take the model of the configuration again.\n"
_MAX_WIDTH = 1 << 20  # columns: no line is broken


class _TunedSettings(BaseModel):
    """What such a file may say."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: BlendSettings | None = None


@dataclass(frozen=True)
class TunedModel:
    """A client's tuned model, and where it lies."""

    file: Path
    model: BlendSettings


def tuned_folder(config: Path) -> Path:
    """Return where the tuned models of a configuration lie, there or not."""
    return config.parent / "tuned"


def tuned_file(config: Path, client_id: ClientId) -> Path:
    """Return where a client's tuned model lies, there or not."""
    return tuned_folder(config) / f"{client_id}.yaml"


def tuned_files(config: Path) -> list[Path]:
    """Return the files that are there, whether the configuration has a client of that name or not."""
    return sorted(tuned_folder(config).glob("*.yaml"))


def read_tuned(config: Path, client_id: ClientId) -> TunedModel | None:
    """Read a client's tuned model; None where it has none.

    Raises ConfigurationError with a line `file:line:column: message` for each fault.
    """
    file = tuned_file(config, client_id)
    if not file.exists():
        return None
    source = read_yaml(file)
    settings = read_block(source, (), source.value, _TunedSettings)
    source.raise_faults()
    if settings is None or settings.model is None:
        raise ConfigurationError(f"{file} holds no model", remedy="remove the file")
    return TunedModel(file, settings.model)


def check_writable(config: Path) -> None:
    """Raise ConfigurationError unless tuned models can be written beside the configuration."""
    folder = tuned_folder(config)
    nearest = folder if folder.exists() else folder.parent
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise ConfigurationError(f"{folder} cannot be written", remedy="leave --write out: the model is printed then")


def write_tuned(config: Path, client_id: ClientId, text: str) -> Path:
    """Make `text` a client's tuned model in one step, and return its file. Raises ConfigurationError."""
    file = tuned_file(config, client_id)
    try:
        file.parent.mkdir(exist_ok=True)
        replace_text(file, text, 0o644)  # others' jobs read it, too
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error
    return file


def as_yaml(model: BlendSettings, note: str) -> str:
    """Return the content of a tuned model's file. `note`: how good the model was, and when."""
    said = {"model": model.said()}
    text = yaml.dump(said, Dumper=PlainDumper, sort_keys=False, default_flow_style=None, width=_MAX_WIDTH)
    return f"{_HEAD}# {note}\n{text}"
