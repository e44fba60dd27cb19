"""Changes conf/clients.yaml: a client's model; everything else stays as people wrote it, comments included."""

import difflib
import fcntl
import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from bc4all.config import load_fleet
from bc4all.errors import ConfigurationError
from bc4all.model_settings import BlendSettings

_COMMENT = re.compile(r"(?:^|\s)(#.*)$", re.MULTILINE)
_ENDLESS = 1 << 20  # columns: no line is broken that was not


def check_writable(path: Path) -> None:
    """Raise ConfigurationError unless the file can be replaced."""
    if not os.access(path.resolve().parent, os.W_OK):
        raise ConfigurationError(f"{path} cannot be replaced", remedy="leave --write out: the change is printed then")


def write_model(path: Path, client_id: str, model: BlendSettings, note: str) -> str:
    """Give a client of the file at `path` another model, with a note beside it, and return what changed, as a diff.

    Raises ConfigurationError, and leaves the file as it is, where the changed file would not be sound.
    """
    path = path.resolve()
    with _only_writer(path):
        before = path.read_text(encoding="utf-8")
        after = with_model(before, client_id, model, note)
        file, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".yaml", dir=path.parent)
        unfinished = Path(name)
        try:
            with os.fdopen(file, "w", encoding="utf-8") as stream:
                stream.write(after)
            load_fleet(unfinished)
            unfinished.chmod(path.stat().st_mode)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, path.name, path.name, n=1))


def with_model(text: str, client_id: str, model: BlendSettings, note: str) -> str:
    """The text of a configuration in which a client has another model, with a note beside it.

    Its `model_params` go: they are those of the model before.
    """
    changed = _changed(text, client_id, model, note, [])
    lost = Counter(_COMMENT.findall(text)) - Counter(_COMMENT.findall(changed))
    kept = [comment for comment in lost if not comment.startswith("# tuned")]
    return _changed(text, client_id, model, note, kept) if kept else changed


def as_yaml(client_id: str, model: BlendSettings, note: str) -> str:
    """What to write into the configuration."""
    return with_model(f"clients:\n  {client_id}:\n", client_id, model, note)


def _changed(text: str, client_id: str, model: BlendSettings, note: str, comments: list[str]) -> str:
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, _ENDLESS
    document = yaml.load(text)
    client = document["clients"][client_id]
    if client is None:
        client = document["clients"][client_id] = CommentedMap()
    client.fa.set_block_style()
    client.pop("model_params", None)
    client["model"] = _laid_out(model.said())
    client.yaml_add_eol_comment(note, "model")
    if comments:
        told = "\n".join(comment.removeprefix("#").strip() for comment in comments)
        client.yaml_set_comment_before_after_key("model", before=told, indent=4)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _laid_out(said: dict[str, Any]) -> CommentedMap:
    """A model over several lines, each classifier's parameters on one."""
    members = CommentedSeq()
    for member in said["blend"]:
        laid_out = CommentedMap(member)
        for name in ("params", "transform"):
            if name in laid_out:
                kind = CommentedMap if name == "params" else CommentedSeq
                laid_out[name] = kind(laid_out[name])
                laid_out[name].fa.set_flow_style()
        members.append(laid_out)
    return CommentedMap({**said, "blend": members})


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Keep other processes that write the same file waiting; its folder is locked, since the file is replaced."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
