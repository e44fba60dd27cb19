"""A YAML file as plain values that remember where they stand, with every fault of form found at once.

Plain YAML keeps the last of two equal keys in silence; here that is a fault. Only safe values, bounded in size.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bc4all.errors import ConfigurationError

MAX_BYTES = 16 << 20  # some 15,000 clients with 27 features of their own
_MAX_NODES = 200_000  # with every alias written out, or a node for each byte: a small file can name a huge tree

MAX_DEPTH = 50  # the compiled composer recurses in C: much deeper, and it ends the process


class PlainDumper(yaml.SafeDumper):
    """Writes what stands in two places twice: anchors and aliases are hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return whether a value that was written before is written again."""
        return True


Place = tuple[int, int]  # line and column, from 1
_Path = tuple[str | int, ...]
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MERGE = "tag:yaml.org,2002:merge"
_OCTAL = re.compile(r"[-+]?0[0-7_]*[1-7][0-7_]*")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class YamlSource:
    """A parsed file: its value, the place of each key and item by its path, and the faults met so far."""

    path: Path
    value: Any = None
    places: dict[_Path, Place] = field(default_factory=dict)
    faults: list[tuple[Place, str]] = field(default_factory=list)

    def add_fault(self, at: _Path, message: str) -> None:
        """Note a fault at a key or item, or at the nearest one above it that the file has."""
        while at and at not in self.places:
            at = at[:-1]
        self.faults.append((self.places.get(at, (1, 1)), message))

    def raise_faults(self) -> None:
        """Raise one ConfigurationError with a line a fault, in the file's order, if there are any."""
        if self.faults:
            lines = [f"{self.path}:{line}:{column}: {message}" for (line, column), message in sorted(self.faults)]
            raise ConfigurationError("\n".join(dict.fromkeys(lines)))


def read_yaml(path: Path) -> YamlSource:
    """Parse a file. Raises ConfigurationError where it cannot be read, is too large, or is not YAML."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}", remedy="name the configuration file with --config"
        ) from error
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{path} is larger than {MAX_BYTES >> 20} MiB", remedy="split the fleet")
    source = YamlSource(path)
    try:
        _check_depth(path, content)
        loader = _LOADER(content)
        try:
            root = loader.get_single_node()
            if root is not None:
                source.value = _Walk(source, loader, len(content)).value(root, (), ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        source.faults.append((place, f"this is not YAML: {error.problem or error.context}{_quotes_for(error)}"))
        source.raise_faults()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return source


def _check_depth(path: Path, content: bytes) -> None:
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):  # events come one by one, without recursion
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigurationError(f"{path} is nested more than {MAX_DEPTH} levels deep")


class _Walk:
    """Turns a node tree into values, noting places and doubled keys."""

    def __init__(self, source: YamlSource, loader: Any, size: int) -> None:
        """`size` of the file, in bytes."""
        self._source, self._loader, self._nodes = source, loader, 0
        self._most = max(_MAX_NODES, size)

    def value(self, node: yaml.Node, at: _Path, above: tuple[int, ...]) -> Any:
        """Return the value of `node`, which stands at the path `at` below the nodes `above`."""
        self._nodes += 1
        self._source.places.setdefault(at, _place(node))
        if self._nodes > self._most or len(above) > MAX_DEPTH or id(node) in above:
            raise ConfigurationError(f"{self._source.path} is too large, its aliases written out")
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return {key: self.value(child, (*at, key), above) for key, child in self._items(node, at)}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*at, i), above) for i, child in enumerate(node.value)]
        misread = _misread(node.value, node.style, node.tag) if isinstance(node, yaml.ScalarNode) else None
        if misread:
            self._source.faults.append((_place(node), misread))
            return None
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # such as 2026-13-45, which YAML takes for a date, or `!!int x`
            self._source.faults.append((_place(node), f"this cannot be read: {error}"))
            return None

    def _items(self, node: yaml.MappingNode, at: _Path) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, Place] = {}
        for key_node, child in node.value:
            key = str(getattr(key_node, "value", key_node))
            if key_node.tag == _MERGE:
                message = "YAML's merge (<<) is not read here: what clients share stands in `defaults:`"
                self._source.faults.append((_place(key_node), message))
                continue
            if key in seen:
                line, column = seen[key]
                message = f"{key!r} is there twice, first at {line}:{column}"
                self._source.faults.append((_place(key_node), message))
                continue
            seen[key] = _place(key_node)
            self._source.places[*at, key] = _place(key_node)
            yield key, child


def _quotes_for(error: yaml.MarkedYAMLError) -> str:
    """Return the hint for a value that begins with a character which YAML keeps for itself."""
    said = f"{error.context} {error.problem}"
    if any(word in said for word in ("alias", "anchor", "start any token")):
        return '; a value that begins with *, &, %, @ or ` stands in quotes, as "*/15 * * * *" does'
    return ""


def _misread(text: str, style: str | None, tag: str) -> str | None:
    """Return what to write instead of a value that YAML takes for something else than people do."""
    if style in (">", "|") and not text:
        return f"{style} begins a text of several lines, and none follows: write '{style}', in quotes"
    plain = not style and tag in _NUMBERS
    if plain and ":" in text:
        return f"YAML reads {text} in base 60: write a duration as 90s, 5m, 6h or 1d, and a text in quotes"
    if plain and _OCTAL.fullmatch(text):
        return f"YAML reads {text} in base 8: leave out the leading zero, or put a text in quotes"
    return None


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1
