"""The figures of the benchmarks: a line a way, as SVG that is the same for the same numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.turns import OURS

_OURS, _THEIRS = "#0b6e4f", ("#c44536", "#3d5a80", "#8d6a9f", "#b08900")
_STYLES = ("-", "--")


def draw_lines(
    file: Path, x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str, y_label: str
) -> None:
    """Draw each of `lines` over `x`, both axes logarithmic, and write it as SVG.

    A line is called as the way that it shows, or as `what, way`: a colour a way, a style for what is measured. One with
    fewer values ends before the others.
    """
    parts = {name: name.rpartition(", ") for name in lines}
    whats, ways = (list(dict.fromkeys(part[place] for part in parts.values())) for place in (0, 2))
    colours = dict(zip([way for way in ways if way != OURS], _THEIRS, strict=False)) | {OURS: _OURS}
    with mpl.rc_context({"svg.hashsalt": file.name, "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for name, values in lines.items():
            what, _, way = parts[name]
            style, width = _STYLES[whats.index(what)], 2.4 if way == OURS else 1.4
            axes.plot(
                x[: len(values)], values, marker="o", color=colours[way], linestyle=style, label=name, linewidth=width
            )
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        axes.set_xticks(x, [f"{value:,.0f}" for value in x])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,g}"))
        axes.grid(which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
        figure.savefig(file, format="svg", metadata={"Date": None})
