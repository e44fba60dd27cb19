"""The figures of the benchmarks: a line a way, as SVG that is the same for the same numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

_COLOURS = ("#0b6e4f", "#c44536", "#3d5a80", "#8d6a9f", "#b08900")  # this project's first


def draw_lines(
    file: Path, x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str, y_label: str
) -> None:
    """Draw each of `lines` over `x`, both axes logarithmic, and write it as SVG."""
    with mpl.rc_context({"svg.hashsalt": file.name, "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for (name, values), colour in zip(lines.items(), _COLOURS, strict=False):
            ours = name.endswith("bc4all")
            axes.plot(x, values, marker="o", color=colour, label=name, linewidth=2.4 if ours else 1.4)
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        axes.set_xticks(x, [f"{value:,.0f}" for value in x])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter(mpl.ticker.StrMethodFormatter("{x:,g}"))
        axes.grid(which="major", alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
        figure.savefig(file, format="svg", metadata={"Date": None})
