"""DATA_PREFIX and every path below it, made of ids and days that `identity` has checked.

Paths are URIs as text, for `data.filesystem` to open. Nothing here touches a file.
"""

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bc4all.errors import ConfigurationError
from bc4all.identity import ClientId, Day, RunId
from bc4all.redaction import has_password, redact
from bc4all.variables import DATA_PREFIX

MANIFEST = "_manifest.json"  # in each published partition: what it was made from
# Of URIs, of Hadoop's patterns, and of what writes a path into a line.
_SPECIAL = re.compile(r"[#?%*{}\[\]^|<>\\\x00-\x1f\x7f]")
_OTHER_HOST = re.compile(r"file://[^/]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


def local_path(uri: str) -> Path:
    """Return the path of a URI whose scheme is `file`, as Hadoop takes it: nothing is escaped, `..` goes by name."""
    return Path(os.path.normpath("/" + uri.partition(":")[2].lstrip("/")))


@dataclass(frozen=True)
class Layout:
    """Where everything lies, below one prefix (a URI without a trailing slash)."""

    prefix: str

    @classmethod
    def at(cls, prefix: str) -> "Layout":
        """Return the layout below `prefix`: a URI with a scheme, or a local path, which may be relative.

        Raises ConfigurationError for a URI with a password, since paths stand in logs, manifests and Spark's pages, and
        for characters that a URI or a pattern of file names takes for something else.
        """
        if has_password(prefix):
            remedy = "give Hadoop the credentials by its own settings, and leave them out of the URI"
            raise ConfigurationError("DATA_PREFIX holds a password", redact(prefix), remedy)
        whole = prefix.rstrip("/") if _SCHEME.match(prefix) else f"file://{Path(prefix).expanduser().absolute()}"
        if _OTHER_HOST.match(whole):
            raise ConfigurationError(
                "DATA_PREFIX names a host", redact(whole), "a local path has three slashes: file:///…"
            )
        special = _SPECIAL.findall(whole)
        if special:
            shown = " ".join(dict.fromkeys(special))
            remedy = "URIs and globs read them otherwise: name a folder without them"
            raise ConfigurationError(f"DATA_PREFIX has {shown!r} in it", repr(redact(whole)), remedy)
        return cls(whole)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Layout":
        """Return the layout below $DATA_PREFIX, by default `data` in the current directory."""
        return cls.at((os.environ if environment is None else environment).get(DATA_PREFIX) or "data")

    @property
    def local_path(self) -> Path | None:
        """The prefix as a path of this machine, or None where it lies elsewhere."""
        return local_path(self.prefix) if self.prefix.startswith("file:") else None

    def training(self, client_id: ClientId) -> str:
        """Return the folder that holds the client's products with their categories."""
        return self._inside("train", f"client_id={client_id}")

    def prediction(self, client_id: ClientId) -> str:
        """Return the folder that holds the client's products to be categorised."""
        return self._inside("prediction", f"client_id={client_id}")

    @property
    def published(self) -> str:
        """The root of every published partition: the one that readers discover."""
        return self._inside("products_categories")

    def published_client(self, client_id: ClientId) -> str:
        """Return the folder of the client's published dates."""
        return self._inside("products_categories", f"client_id={client_id}")

    def published_partition(self, client_id: ClientId, day: Day) -> str:
        """Return the folder of one client's published categories of one date."""
        return self._inside("products_categories", f"client_id={client_id}", f"date={day}")

    def quarantine(self, kind: str, client_id: ClientId, day: Day) -> str:
        """Return the folder of the rows refused on one date; `kind` is `train` or `prediction`."""
        return f"{self.refused_client(kind, client_id)}/date={day}"

    def refused_client(self, kind: str, client_id: ClientId) -> str:
        """Return the folder of a client's refused rows of one kind, a folder a date."""
        return self._inside("quarantine", kind, f"client_id={client_id}")

    def forgetting(self, client_id: ClientId) -> str:
        """Return the folder that is there while a client is being forgotten."""
        return self._inside("_forgetting", client_id)

    @property
    def events(self) -> str:
        """The folder of Spark's event logs, which the history server reads."""
        return self._inside("_events")

    @property
    def scratch(self) -> str:
        """The folder that `bc4all doctor` writes to and removes."""
        return self._inside("_staging", "doctor")

    @property
    def staged(self) -> str:
        """The root of what runs have not published yet."""
        return self._inside("_staging")

    def staging(self, run_id: RunId) -> str:
        """Return the folder of a run's unpublished output, outside every root that readers discover."""
        return self._inside("_staging", run_id)

    @property
    def replaced(self) -> str:
        """The root of what runs have replaced."""
        return self._inside("_trash")

    def trash(self, run_id: RunId) -> str:
        """Return the folder that a run's replaced partitions move to."""
        return self._inside("_trash", run_id)

    def _inside(self, *names: str) -> str:
        """Return the path of these names below the prefix.

        Each is of a type that was checked; this is the second look, at what became of them. Raises ConfigurationError.
        """
        path = "/".join(names)
        if posixpath.normpath(path) != path or path.startswith(("/", "..")):
            raise ConfigurationError(f"{path[:200]!r} leads out of {self.prefix}", remedy="nothing was read or written")
        return f"{self.prefix}/{path}"
