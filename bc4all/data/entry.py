"""What a listing of a folder gives, on any storage."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A file or folder of a listing: its URI, its last name, its size in bytes, when it last changed.

    `changed` is in milliseconds since 1970 by the storage's clock; of a folder it means nothing in an object store.
    """

    uri: str
    name: str
    size: int
    is_file: bool
    changed: int
