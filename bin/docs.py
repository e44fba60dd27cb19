"""What `make docs` writes: docs/cli.md from the commands themselves, docs/rooms.svg from the rooms and their imports.

A test holds both files against what this makes of the present code.
"""

import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import click
import grimp

from bc4all.wording import quantity

ROOT = Path(__file__).resolve().parent.parent
CLI, PICTURE = ROOT / "docs" / "cli.md", ROOT / "docs" / "rooms.svg"
_HELP_COLUMNS = 100

_CLI_HEAD = """\
# The command line

Written by `make docs` from the commands themselves. `bin/submit.sh` starts a Spark job; `bc4all` looks after jobs,
models and data. The README lists the exit codes.
"""
_LIVES_THERE = {
    "cli": "the command line: commands, options, tables for a terminal",
    "site": "the fleet's pages as plain files",
    "launch": "before Java: bundle, spark-submit",
    "jobs": "a job as a Spark application",
    "schedule": "jobs on time: scheduler, cron, history",
    "data": "delivered and published files",
    "learning": "models fitted as Spark tasks",
    "registry": "MLflow, behind one door",
    "config": "clients.yaml as Fleet and Client",
    "pyfunc": "MLflow's loader of a version",
    "reading": "delivered bytes as checked Arrow columns, in workers",
    "model": "what a Python worker scores with: no Spark, MLflow, click, YAML",
}


def commands(command: click.Command, typed: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, as it is typed."""
    if not isinstance(command, click.Group):
        yield typed, command
        return
    for name in sorted(command.commands):
        yield from commands(command.commands[name], f"{typed} {name}")


def cli_page() -> str:
    """Return docs/cli.md: the help of every command."""
    from bc4all.cli.main import main
    from bc4all.cli.submit import main as submit

    parts = [_CLI_HEAD]
    for group, typed in ((submit, "bin/submit.sh"), (main, "bc4all")):
        for name, command in commands(group, typed):
            context = click.Context(
                command, info_name=name, terminal_width=_HELP_COLUMNS, help_option_names=["-h", "--help"]
            )
            parts.append(f"## {name}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


class Room(NamedTuple):
    """A box of the picture; sizes in pixels."""

    name: str
    x: float
    y: float
    width: float
    modules: int


_WIDTH, _HEIGHT, _GAP, _MARGIN = 960, 76, 52, 24


def floors() -> list[list[str]]:
    """Return the rooms by floor, from the top down, as import-linter keeps them; the ground floor last, as one."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [[name.strip() for name in layer.split("|")] for layer in contracts[0]["layers"]]
    above = [layer for layer in layers if set(layer) & _LIVES_THERE.keys()]
    return [*above, [name for layer in layers[len(above) :] for name in layer]]


def rooms(graph: grimp.ImportGraph) -> list[Room]:
    """Lay the rooms out; the ground floor is one room of the name `ground`."""
    laid_out = []
    for number, names in enumerate(floors()):
        shown = names if set(names) & _LIVES_THERE.keys() else ["ground"]
        width = (_WIDTH - 2 * _MARGIN - 24 * (len(shown) - 1)) / len(shown)
        for place, name in enumerate(shown):
            members = [name] if name != "ground" else names
            modules = sum(len(graph.find_descendants(f"bc4all.{one}")) or 1 for one in members)
            x, y = _MARGIN + place * (width + 24), _MARGIN + number * (_HEIGHT + _GAP)
            laid_out.append(Room(name, x, y, width, modules))
    return laid_out


def arrows(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    """Return which room imports which, but for what others imply, and the ground floor, which all import."""
    drawn = [name for floor in floors()[:-1] for name in floor]
    pairs = [(one, other) for one in drawn for other in drawn if one != other]
    direct = {
        (one, other)
        for one, other in pairs
        if graph.direct_import_exists(importer=f"bc4all.{one}", imported=f"bc4all.{other}", as_packages=True)
    }
    reached = set(direct)
    for through in reversed(drawn):  # floors from below: what is reached by way of a room is known when it is met
        reached |= {(a, d) for a, b in reached for c, d in reached if b == c == through}
    implied = {(a, d) for a, b in direct for c, d in reached if b == c}
    return sorted(direct - implied)


def picture() -> str:
    """Return docs/rooms.svg."""
    graph = grimp.build_graph("bc4all", cache_dir=None)
    boxes = {room.name: room for room in rooms(graph)}
    height = max(room.y for room in boxes.values()) + _HEIGHT + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif">',
        "<title>The rooms of bc4all. Every import leads down; arrows that others imply are left out.</title>",
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#7a8699"/></marker></defs>',
    ]
    pairs = arrows(graph)
    for one, other in pairs:
        parts.append(_arrow(boxes, pairs, one, other))
    for room in boxes.values():
        parts += _box(room)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arrow(boxes: dict[str, Room], pairs: list[tuple[str, str]], one: str, other: str) -> str:
    """Draw an import from the lower edge of one room to the upper edge of another, ends side by side."""
    leaving = sorted((b for a, b in pairs if a == one), key=lambda name: _middle(boxes[name]))
    coming = sorted((a for a, b in pairs if b == other), key=lambda name: _middle(boxes[name]))
    upper, lower = boxes[one], boxes[other]
    x1 = upper.x + upper.width * (leaving.index(other) + 1) / (len(leaving) + 1)
    x2 = lower.x + lower.width * (coming.index(one) + 1) / (len(coming) + 1)
    y1, y2 = upper.y + _HEIGHT, lower.y - 2
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f} {x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2:.0f}" '
        'fill="none" stroke="#a9b3c4" stroke-width="1.4" marker-end="url(#tip)"/>'
    )


def _middle(room: Room) -> float:
    return room.x + room.width / 2


def _box(room: Room) -> list[str]:
    fill = {"model": "#fff3d6", "ground": "#eef0f3"}.get(room.name, "#e4efff")
    about = _LIVES_THERE.get(room.name, "the modules beside the rooms: errors, paths, logs, names")
    title = "ground floor" if room.name == "ground" else room.name if room.name == "pyfunc" else f"{room.name}/"
    count = quantity(room.modules, "module")
    return [
        f'<rect x="{room.x:.0f}" y="{room.y:.0f}" width="{room.width:.0f}" height="{_HEIGHT}" rx="8" '
        f'fill="{fill}" stroke="#5b6b82"/>',
        f'<text x="{room.x + 14:.0f}" y="{room.y + 28:.0f}" font-size="18" font-weight="bold" fill="#1c2733">'
        f'{escape(title)}<tspan font-size="12" font-weight="normal" fill="#5b6b82" dx="8">{count}</tspan></text>',
        f'<text x="{room.x + 14:.0f}" y="{room.y + 54:.0f}" font-size="13" fill="#1c2733">{escape(about)}</text>',
    ]


def main() -> None:
    """Write both files."""
    CLI.write_text(cli_page())
    PICTURE.write_text(picture())


if __name__ == "__main__":
    main()
