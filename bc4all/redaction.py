"""Secrets of the environment, kept out of whatever is printed, logged or recorded.

What counts as one: the value of a variable whose name says so, and the password in a variable that is a URI. Imports
the standard library alone, so that every message can pass through here.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

_SECRET_NAME = re.compile(
    r"(?i)pass(word|wd|phrase)|_pwd$"
    r"|(^|_)(pass|pw|secrets?|tokens?|credentials?|(access|api|account|private|secret|storage)_?key|connection_string)(_|$)"
)
_FILE_NAME = re.compile(r"(?i)(^|_)(file|path|dir)$")
_PASSWORD_IN_URI = re.compile(r"(?<=://)([^/\s:@]*):(?!\d+/)([^\s@]+)@")  # unless what looks like one is a port
_PASSWORD_IN_QUERY = re.compile(r"(?i)\b(password|pwd|accountkey|sharedaccesssignature)=([^&;\s'\"]+)")
_MIN_SECRET_CHARS = 4  # characters: a shorter value would black out ordinary words
_HIDDEN = "…"


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without the secrets of the environment (by default this process's) and without passwords in URIs."""
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, _HIDDEN)
    return _PASSWORD_IN_QUERY.sub(rf"\1={_HIDDEN}", _PASSWORD_IN_URI.sub(rf"\1:{_HIDDEN}@", text))


def has_password(uri: str) -> bool:
    """Return whether a URI carries a password."""
    return bool(_PASSWORD_IN_URI.search(uri) or _PASSWORD_IN_QUERY.search(uri))


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets, the longest first: one may be a part of another."""
    named = ((name, value) for name, value in environment.items() if _SECRET_NAME.search(name))
    found = {value for name, value in named if not (value.startswith("/") and _is_file(name, value))}
    for value in environment.values():
        found.update(_password(value))
    found |= {repr(secret)[1:-1] for secret in found}  # as Python quotes it
    found |= {json.dumps(secret)[1:-1] for secret in found}  # as a line of the log has it
    return sorted((secret for secret in found if len(secret) >= _MIN_SECRET_CHARS), key=len, reverse=True)


def _is_file(name: str, value: str) -> bool:
    """Return whether it is a secret's file that is named, which errors may tell."""
    return bool(_FILE_NAME.search(name)) or os.path.exists(value)


def _password(value: str) -> Iterator[str]:
    if "://" in value and "@" in value:
        try:
            password = urlsplit(value).password
        except ValueError:  # not a URI after all
            return
        if password:
            yield password
            yield unquote(password)  # as a library that has parsed it may print it
