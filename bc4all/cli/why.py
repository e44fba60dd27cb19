"""The command `bc4all why`: what a champion answers for a product, and which of its words say so."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from bc4all.cli.models import open_registry
from bc4all.cli.options import CLIENT_ID
from bc4all.errors import ModelError
from bc4all.identity import ClientId
from bc4all.kinds import NUMERIC, Features
from bc4all.layout import Layout
from bc4all.wording import printable, quantity

if TYPE_CHECKING:  # which take seconds to import
    import numpy as np
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from bc4all.model.contributions import Contributions

_SHOWN_CATEGORIES = 3
_GROUNDS = ("on dark_green", "on green", "on dark_red", "on red")  # of letters: for the category, much so, against it


@click.command()
@click.option("--client-id", type=CLIENT_ID, required=True, help="The client.")
@click.option("--version", "number", type=click.IntRange(1), help="The version; else the champion.")
@click.argument("values", nargs=-1, required=True)
def why(client_id: ClientId, number: int | None, values: tuple[str, ...]) -> None:
    """Show which words of a product speak for its category.

    VALUES are those of the client's features, in their order: of a client with titles alone, one title. A linear text
    model's margin is the sum of what each letter adds; the table shows each word's part, exactly, as the difference
    from the mean of all categories. A part of 1 makes a category 2.7 times as likely.

    Example: bc4all why --client-id client_0 'bosch kgn36 fridge freezer'
    """
    from bc4all.model.contributions import contributions
    from bc4all.model.linear_text import LinearText
    from bc4all.terminal import console

    registry = open_registry(Layout.from_environment(), [client_id])
    version = registry.find(client_id, number)
    loaded = registry.load(client_id, version)
    product = _product(loaded.features, values)
    if not isinstance(loaded.model, LinearText):
        kind = version.tags.get("model", type(loaded.model).__name__)
        raise ModelError(
            f"{kind} is no linear model over text: its answers are no sums over words", client_id, "see bc4all show"
        )
    scores = loaded.model.predict_proba(product)[0]
    best = scores.argsort()[::-1][:_SHOWN_CATEGORIES]
    shares, rest = contributions(loaded.model, product)
    names = [printable(str(loaded.model.classes_[place])) for place in best]
    shown = console()
    for share in shares:
        shown.print(_shaded(share.text, share.letters[:, best[0]]))
    title = f"{client_id} version {version.number}"
    shown.print(_table(title, names, scores[best], [_words(share, best) for share in shares], rest[best]))


def _product(features: Features, values: Sequence[str]) -> "pd.DataFrame":
    """Return the one row that a model takes. Raises UsageError for too few or too many values, or no number."""
    import pandas as pd

    from bc4all.model.features import model_input

    if len(values) != len(features):
        raise click.UsageError(
            f"The model has {quantity(len(features), 'feature')}, {', '.join(features)}: give a value for each."
        )
    row: dict[str, list[str | float]] = {}
    for (name, kind), value in zip(features.items(), values, strict=True):
        try:
            row[name] = [float(value or math.nan) if kind == NUMERIC else value]
        except ValueError:
            raise click.UsageError(f"{name} is a number, and {value!r} is none.") from None
    frame: pd.DataFrame = model_input(pd.DataFrame(row), features)
    return frame


def _words(share: "Contributions", categories: "np.ndarray") -> list[tuple[str, "np.ndarray"]]:
    """Return each word of a text, and what it adds for some categories: its letters, and half of each space beside it.

    A space at an end belongs to the one word beside it; without a word all is the text's.
    """
    from bc4all.model.contributions import word_places

    letters, places = share.letters[:, categories], list(word_places(share.text))
    if not places:
        return [(repr(share.text), letters.sum(axis=0))] if share.text else []
    middles = [(before[1], after[0]) for before, after in pairwise(places)]
    gaps = [letters[first:last].sum(axis=0) / 2 for first, last in middles]
    first, last = letters[: places[0][0]].sum(axis=0), letters[places[-1][1] :].sum(axis=0)
    beside = zip([first, *gaps], [*gaps, last], strict=True)
    return [
        (printable(share.text[start:end]), letters[start:end].sum(axis=0) + before + after)
        for (start, end), (before, after) in zip(places, beside, strict=True)
    ]


def _table(
    title: str,
    names: Sequence[str],
    scores: "np.ndarray",
    texts: Sequence[Sequence[tuple[str, "np.ndarray"]]],
    rest: "np.ndarray",
) -> "Table":
    """Return a row a word, a column a category, and their sums."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    total = rest.copy()
    for words in texts:
        for word, added in words:
            table.add_row(Text(word), *(f"{value:+.2f}" for value in added))
            total += added
        table.add_section()
    table.add_row("all else", *(f"{value:+.2f}" for value in rest))
    table.add_section()
    table.add_row("sum", *(f"{value:+.2f}" for value in total))
    table.add_row("score", *(f"{score:.3f}" for score in scores))
    return table


def _shaded(text: str, added: "np.ndarray") -> "Text":
    """Return a text whose letters stand on green where they speak for the category, on red where against it."""
    from rich.text import Text

    shaded, most = Text(), abs(added).max(initial=0) or 1.0
    for letter, value in zip(text, added, strict=True):
        strength = abs(value) / most
        ground = _GROUNDS[(0 if value > 0 else 2) + (strength > 0.5)] if strength > 0.15 else ""
        shaded.append(printable(letter), style=ground)
    return shaded
