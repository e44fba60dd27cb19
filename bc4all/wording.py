"""Words that depend on numbers, for messages."""


def quantity(count: int, noun: str) -> str:
    """Return `1 version`, `2 versions`. `noun`: in the singular, with a plural in -s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
