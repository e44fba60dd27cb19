"""DATA_PREFIX and every path below it; client ids and dates are checked here and nowhere else.

Paths are URIs as text, for Hadoop's FileSystem to open. Nothing here touches a file.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bc4all.errors import ConfigurationError

MANIFEST = "_manifest.json"  # in each published partition: what it was made from
CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


def check_client_id(client_id: object) -> str:
    """Return `client_id` if it may become a path, a model name and a crontab argument.

    Raises ConfigurationError otherwise.
    """
    if isinstance(client_id, str) and CLIENT_ID.fullmatch(client_id):
        return client_id
    raise ConfigurationError(
        f"{str(client_id)[:80]!r} is not a client id",
        remedy="use 1 to 64 letters, digits, '_' or '-', starting with a letter or digit",
    )


def check_date(text: object) -> str:
    """Return `text` if it is a calendar date written YYYY-MM-DD. Raises ConfigurationError otherwise."""
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            pass  # shaped like a date, but not in the calendar: the same error as any other text
    raise ConfigurationError(f"{str(text)[:80]!r} is not a date", remedy="write it as YYYY-MM-DD")


@dataclass(frozen=True)
class Layout:
    """Where everything lies, below one prefix (a URI without a trailing slash)."""

    prefix: str

    @classmethod
    def at(cls, prefix: str) -> "Layout":
        """The layout below `prefix`: a URI with a scheme, or a local path, which may be relative."""
        if _SCHEME.match(prefix):
            return cls(prefix.rstrip("/"))
        return cls(f"file://{Path(prefix).expanduser().absolute()}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Layout":
        """The layout below $DATA_PREFIX, by default `data` in the current directory."""
        return cls.at((os.environ if environment is None else environment).get("DATA_PREFIX") or "data")

    @property
    def local_path(self) -> Path | None:
        """The prefix as a path of this machine, or None where it lies elsewhere."""
        scheme, _, rest = self.prefix.partition(":")
        return Path("/" + rest.lstrip("/")) if scheme == "file" else None

    def training(self, client_id: str) -> str:
        """The folder that holds the client's products with their categories."""
        return f"{self.prefix}/train/client_id={check_client_id(client_id)}"

    def prediction(self, client_id: str) -> str:
        """The folder that holds the client's products to be categorised."""
        return f"{self.prefix}/prediction/client_id={check_client_id(client_id)}"

    @property
    def published(self) -> str:
        """The root of every published partition: the one that readers discover."""
        return f"{self.prefix}/products_categories"

    def published_client(self, client_id: str) -> str:
        """The folder of the client's published dates."""
        return f"{self.published}/client_id={check_client_id(client_id)}"

    def published_partition(self, client_id: str, day: str) -> str:
        """The folder of one client's published categories of one date."""
        return f"{self.published_client(client_id)}/date={check_date(day)}"

    def quarantine(self, kind: str, client_id: str, day: str) -> str:
        """The folder of the rows refused on one date; `kind` is `train` or `prediction`."""
        return f"{self.prefix}/quarantine/{kind}/client_id={check_client_id(client_id)}/date={check_date(day)}"

    @property
    def events(self) -> str:
        """The folder of Spark's event logs, which the history server reads."""
        return f"{self.prefix}/_events"

    @property
    def scratch(self) -> str:
        """The folder that `bc4all doctor` writes to and removes."""
        return self.staging("doctor")

    def staging(self, run_id: str) -> str:
        """The folder of a run's unpublished output, outside every root that readers discover."""
        return f"{self.prefix}/_staging/{run_id}"

    def trash(self, run_id: str) -> str:
        """The folder that a run's replaced partitions move to."""
        return f"{self.prefix}/_trash/{run_id}"
