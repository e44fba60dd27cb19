"""Changes conf/clients.yaml: a client's model. All else stays as people wrote it, to the letter, comments included.

Only the lines of the client's entry are written anew; where a file has it among others on one line, the whole file is.
"""

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

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from bc4all.config.clients import Fleet
from bc4all.config.fleet_file import load_fleet
from bc4all.config.model_settings import BlendSettings
from bc4all.errors import ConfigurationError

_COMMENT = re.compile(r"(?:^|\s)(#.*)$", re.MULTILINE)
_NOTE = re.compile(r"# tuned \d{4}-\d\d-\d\d: log-loss ")  # how a note begins; the one before goes with its model
_ENDLESS = 1 << 20  # columns: no line is broken that was not
_BY_HAND = "write it by hand"


def check_writable(path: Path) -> None:
    """Raise ConfigurationError unless the file can be replaced."""
    if not (os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)):
        raise ConfigurationError(f"{path} cannot be replaced", remedy="leave --write out: the change is printed then")


def note(day: str, log_loss: float, before: float | None, top_5: float) -> str:
    """What stands beside a tuned model."""
    present = "" if before is None else f", before {before:.3f}"
    return f"tuned {day}: log-loss {log_loss:.3f}{present}, top-5 {top_5:.3f}"


def write_model(path: Path, client_id: str, model: BlendSettings, told: str) -> str:
    """Give a client of the file at `path` another model, with a note beside it, and return what changed, as a diff.

    Raises ConfigurationError, and leaves the file as it is, where the changed file would not be sound, or would say
    something else of anything but this client's model.
    """
    path = path.resolve()
    with _only_writer(path):
        before = path.read_bytes().decode()
        after = with_model(before, client_id, model, told)
        file, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".yaml", dir=path.parent)
        unfinished = Path(name)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(after.encode())
            changed = _loaded(unfinished, path)
            _check_change(load_fleet(path), changed, client_id, model)
            unfinished.chmod(path.stat().st_mode)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), path.name, path.name, n=1, lineterm="")
    return "\n".join(lines) + "\n"


def _loaded(unfinished: Path, path: Path) -> Fleet:
    try:
        return load_fleet(unfinished)
    except ConfigurationError as error:
        raise ConfigurationError(
            str(error).replace(str(unfinished), f"{path}, as it would be"), remedy=_BY_HAND
        ) from error


def _check_change(before: Fleet, after: Fleet, client_id: str, model: BlendSettings) -> None:
    """Refuse what says anything else than before of others, such as those that share an entry by an anchor."""
    expected = before.clients[client_id].model_copy(update={"model": model, "model_params": {}})
    clients = {**before.clients, client_id: expected}
    wanted = before.model_copy(update={"clients": clients, "path": after.path})
    if wanted != after:
        raise ConfigurationError(f"{before.path}: changing {client_id} would change others, too", remedy=_BY_HAND)


def with_model(text: str, client_id: str, model: BlendSettings, told: str) -> str:
    """The text of a configuration in which a client has another model, with a note beside it.

    Its `model_params` go: they are those of the model before. Raises ConfigurationError where that cannot be done.
    """
    first, last, column = _lines(text, client_id)
    if not column:
        return _changed(text, client_id, model, told, 2)
    lines = text.splitlines(keepends=True)
    entry = "".join(lines[first : last + 1])
    changed = _changed(f"clients:\n{entry}", client_id, model, told, column).partition("\n")[2]
    if entry.endswith("\r\n"):
        changed = changed.replace("\r\n", "\n").replace("\n", "\r\n")
    return "".join([*lines[:first], changed, *lines[last + 1 :]])


def as_yaml(client_id: str, model: BlendSettings, told: str) -> str:
    """What to write into the configuration."""
    key = client_id if isinstance(yaml.safe_load(client_id), str) else f'"{client_id}"'
    return with_model(f"clients:\n  {key}:\n", client_id, model, told)


def _lines(text: str, client_id: str) -> tuple[int, int, int]:
    """The first and the last line of a client's entry, from 0, and its column: 0 where others are on its lines."""
    clients = _clients(text)
    key, value = next(item for item in clients.value if item[0].value == client_id)
    marks = [key.end_mark, *_ends(value)]
    alone = not clients.flow_style and key.start_mark.column > 0
    return key.start_mark.line, max(mark.line for mark in marks), key.start_mark.column if alone else 0


def _clients(text: str) -> Any:
    """The mapping of clients, as PyYAML's node: with its places, and its keys as they are written."""
    document: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    return next(value for key, value in document.value if key.value == "clients")


def _ends(node: yaml.Node) -> Iterator[yaml.Mark]:
    """Where what a node is written with ends: a block's own end is where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                yield from _ends(part)
    else:
        yield node.end_mark


def _changed(text: str, client_id: str, model: BlendSettings, told: str, indent: int) -> str:
    """A document with the client's model changed, and no comment of people lost."""
    changed = _dumped(text, client_id, model, told, indent, [])
    lost = Counter(_COMMENT.findall(text)) - Counter(_COMMENT.findall(changed))
    kept = [comment.strip() for comment in lost if not _NOTE.match(comment)]
    return _dumped(text, client_id, model, told, indent, kept) if kept else changed


def _dumped(text: str, client_id: str, model: BlendSettings, told: str, indent: int, comments: list[str]) -> str:
    try:
        written = [key.value for key, _ in _clients(text).value]
    except yaml.YAMLError as error:  # such as an alias of what stands elsewhere in the file
        raise ConfigurationError(f"{client_id}: its entry cannot be changed: {error}", remedy=_BY_HAND) from error
    dumper = YAML()
    dumper.preserve_quotes, dumper.width = True, _ENDLESS
    dumper.indent(mapping=indent)
    document = dumper.load(text)
    clients = document["clients"]
    key = list(clients)[written.index(client_id)]  # 1001 is a number, for YAML
    client = clients[key]
    if client is None:
        client = clients[key] = CommentedMap()
    client.fa.set_block_style()
    client.pop("model_params", None)
    client["model"] = _laid_out(model.said())
    client.yaml_add_eol_comment(told, "model")
    if comments:
        lines = "\n".join(comment.removeprefix("#").strip() for comment in comments)
        client.yaml_set_comment_before_after_key("model", before=lines, indent=2 * indent)
    out = io.StringIO()
    dumper.dump(document, out)
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
