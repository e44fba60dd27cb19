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
    r"(?i)(^|_)(pass(word|wd|phrase)?|pw|secrets?|tokens?|credentials?|(access|api|account|private|secret)_?key)(_|$)"
)
_PASSWORD_IN_URI = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
_SHORTEST = 4  # characters: a shorter value would black out ordinary words
_HIDDEN = "…"


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without the secrets of the environment (by default this process's) and without passwords in URIs."""
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, _HIDDEN)
    return _PASSWORD_IN_URI.sub(rf"\1:{_HIDDEN}@", text)


def has_password(uri: str) -> bool:
    """Whether a URI carries one."""
    return bool(_PASSWORD_IN_URI.search(uri))


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """The longest first: one may be a part of another."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name) and not value.startswith("/")}
    for value in environment.values():
        found.update(_password(value))
    found |= {repr(secret)[1:-1] for secret in found}  # as Python quotes it
    found |= {json.dumps(secret)[1:-1] for secret in found}  # as a line of the log has it
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def _password(value: str) -> Iterator[str]:
    if "://" in value and "@" in value:
        try:
            password = urlsplit(value).password
        except ValueError:  # not a URI after all
            return
        if password:
            yield password
            yield unquote(password)  # as a library that has parsed it may print it
