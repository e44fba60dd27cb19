"""Small files of this machine, written so that readers see the old content or the new one, whole."""

import os
import tempfile
from pathlib import Path


def replace_text(file: Path, text: str, mode: int) -> None:
    """Make `text` the content of a file, there or not, in one step; `mode`: its permissions. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # its owner's alone until it is whole
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        unfinished.chmod(mode)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
