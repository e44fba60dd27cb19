"""Words for messages: what depends on numbers, and what others have named."""

from collections.abc import Sequence

_MAX_NAME_CHARS = 60
_MAX_NAMES = 20


def quantity(count: int, noun: str) -> str:
    """Return `1 version`, `2 versions`. `noun`: in the singular, with a plural in -s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Return names as a list for a message: not too many, none of them too long."""
    shown = [name if len(name) <= _MAX_NAME_CHARS else f"{name[:_MAX_NAME_CHARS]}…" for name in names[:_MAX_NAMES]]
    return ", ".join(shown + (["…"] if len(names) > _MAX_NAMES else []))


def inert(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def printable(text: str, controls: str = "") -> str:
    """Return a text without what a terminal or a log would obey, escapes and line breaks, but for these `controls`."""
    return "".join(letter if letter.isprintable() or letter in controls else "\ufffd" for letter in text)
