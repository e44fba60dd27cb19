"""What people look at: published categories, read by Arrow without Spark, and the jobs that are due."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs
from rich.table import Table
from rich.text import Text

from bc4all.agenda import due_timings
from bc4all.columns import check_columns, data_names, file_kind, find_header
from bc4all.config import Client
from bc4all.delivery import check_listed
from bc4all.errors import DataError, Failure, TransientFailure
from bc4all.layout import MANIFEST, Layout
from bc4all.ranking import ANSWERED
from bc4all.schedule import firings

if TYPE_CHECKING:  # MLflow takes seconds to import, and what is published needs none
    from bc4all.registry import Version

_SHOWN_METRICS = {"accuracy": "accuracy", "top_5_accuracy": "top-5", "log_loss": "loss"}  # tags of a version


@dataclass(frozen=True)
class Published:
    """Some products of one published partition, and its manifest."""

    client_id: str
    day: str
    manifest: dict[str, Any]
    rows: pa.Table  # sorted by product_id, then rank


def upcoming(clients: Sequence[Client], after: datetime, hours: int, pauses: Container[tuple[str, str]] = ()) -> Table:
    """The jobs that are due in the next hours and not paused, in order, each in its client's time zone."""
    until = after + timedelta(hours=hours)
    due = []
    for (client_id, job), timing in due_timings(clients, pauses):
        times = firings(timing.expression, timing.zone, after, until)
        due += [(at, client_id, job, timing.zone, timing.expression) for at in times]
    shown = Table(title=f"due in the next {hours} hours: {len(due)} jobs", title_justify="left")
    for name in ("when", "client", "job", "schedule"):
        shown.add_column(name, no_wrap=True)
    for at, client_id, job, zone, expression in sorted(due, key=lambda entry: entry[:3]):
        shown.add_row(f"{at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}", client_id, job, expression)
    return shown


def check_data(layout: Layout, client: Client) -> list[str]:
    """What keeps a client from being trained and scored, as far as folders and headers tell: a line a fault."""
    faults = []
    for job, folder, names in (
        ("train", layout.training(client.id), ["product_id", "category_id", *client.features]),
        ("predict", layout.prediction(client.id), ["product_id", *client.features]),
    ):
        try:
            _check_partition(*_open(layout, folder), folder, names)
        except Failure as failure:
            faults.append(f"{client.id}: {job} would fail: {failure}")
    return faults


def _check_partition(storage: fs.FileSystem, root: str, folder: str, names: list[str]) -> None:
    def listing() -> list[str]:
        return [entry.base_name for entry in storage.get_file_info(fs.FileSelector(root, allow_not_found=True))]

    names_there = check_listed(folder, root, listing) if isinstance(storage, fs.LocalFileSystem) else listing()
    for name in data_names(folder, names_there):
        uri = f"{folder}/{name}"
        try:
            found = _column_names(storage, f"{root}/{name}", uri)
        except (pa.ArrowException, OSError, EOFError) as error:
            raise DataError(f"{uri} cannot be read: {error}", remedy="deliver it again") from error
        if found:
            check_columns(uri, found, names)


def _column_names(storage: fs.FileSystem, path: str, uri: str) -> Sequence[str]:
    if file_kind(uri) == "parquet":
        with storage.open_input_file(path) as file:
            return list(pq.read_schema(file).names)

    def head(size: int) -> bytes:
        with storage.open_input_stream(path, compression="detect") as stream:
            return bytes(stream.read(size))

    header = find_header(uri, head)
    return header.names if header else ()


def read_published(
    layout: Layout, client_id: str, day: str | None, product_ids: Sequence[str], products: int
) -> Published:
    """The categories of `product_ids`, or of the first `products` by id, of a date or of the latest.

    Raises DataError where nothing is published, or a product is not there.
    """
    storage, root = _open(layout, layout.published_client(client_id))
    day = day or _latest(client_id, layout)
    folder = f"{root}/date={day}"
    if storage.get_file_info(folder).type != fs.FileType.Directory:
        where, remedy = layout.published_partition(client_id, day), f"bin/submit.sh predict --client-id {client_id}"
        raise DataError(f"{client_id}: nothing is published for {day}", where, remedy)
    partition = ds.dataset(folder, format="parquet", filesystem=storage)
    wanted = product_ids or _first(partition, products)
    rows = partition.to_table(filter=pc.field("product_id").isin(list(wanted)))
    missing = sorted(set(wanted) - set(rows["product_id"].to_pylist()))
    if missing:
        raise DataError(f"{client_id}: product {', '.join(missing[:5])} is not there", f"date {day}", "check its id")
    with storage.open_input_stream(f"{folder}/{MANIFEST}") as stream:
        manifest = json.loads(stream.read())
    return Published(client_id, day, manifest, rows.sort_by([("product_id", "ascending"), ("rank", "ascending")]))


def _open(layout: Layout, uri: str) -> tuple[fs.FileSystem, str]:
    if layout.local_path is not None:
        return fs.LocalFileSystem(), str(layout.local_path) + uri.removeprefix(layout.prefix)
    try:
        storage, root = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TransientFailure(f"Arrow cannot open {uri}: {error}", remedy="read it with Spark instead") from error
    return storage, root


def published_days(layout: Layout, client_id: str) -> list[str]:
    """The dates for which the client's categories are published, in order."""
    storage, root = _open(layout, layout.published_client(client_id))
    found = storage.get_file_info(fs.FileSelector(root, allow_not_found=True))
    return sorted(entry.base_name.removeprefix("date=") for entry in found if entry.base_name.startswith("date="))


def _latest(client_id: str, layout: Layout) -> str:
    days = published_days(layout, client_id)
    if not days:
        where, remedy = layout.published_client(client_id), f"bin/submit.sh predict --client-id {client_id}"
        raise DataError(f"{client_id}: nothing is published", where, remedy)
    return days[-1]


def _first(partition: ds.Dataset, products: int) -> list[str]:
    """The smallest ids, found without holding the partition: each batch keeps its own few."""
    best: list[str] = []
    for batch in partition.scanner(columns=["product_id"], filter=pc.field("rank") == 0).to_batches():
        ids = batch.column(0)
        places = pc.select_k_unstable(ids, k=products, sort_keys=[("", "ascending")]) if len(ids) > products else None
        best = sorted([*best, *(ids if places is None else ids.take(places)).to_pylist()])[:products]
    return best


def table(published: Published) -> Table:
    """A row a product, a column a rank: category and score."""
    manifest = published.manifest
    shown = Table(
        title=f"{published.client_id} · {published.day} · {manifest['model']} version {manifest['model_version']}",
        title_justify="left",
    )
    shown.add_column("product_id", overflow="fold")
    ranks = sorted(set(published.rows["rank"].to_pylist()))
    for rank in ranks:
        shown.add_column(f"rank {rank}", overflow="fold")
    abstains = ANSWERED in published.rows.schema.names
    if abstains:
        shown.add_column(ANSWERED)
    answers: dict[str, list[str]] = {}
    answered: dict[str, str] = {}
    for row in published.rows.to_pylist():
        answers.setdefault(row["product_id"], []).append(f"{row['pred_label']}  {row['pred_score']:.2f}")
        answered[row["product_id"]] = "yes" if row.get(ANSWERED) else "no"
    for product_id, answer in answers.items():
        shown.add_row(*map(_plain, (product_id, *answer, *([answered[product_id]] if abstains else []))))
    return shown


def versions_table(client_id: str, versions: "Sequence[Version]", aliases: Mapping[str, int]) -> Table:
    """A row a version: what it is called, and how it did on its held-out rows."""
    shown = Table(title=f"{client_id}: {len(versions)} versions", title_justify="left")
    for name in ("version", "trained"):
        shown.add_column(name, no_wrap=True)
    shown.add_column("model", overflow="fold")
    for name in _SHOWN_METRICS.values():
        shown.add_column(name, justify="right", no_wrap=True)
    for version in versions:
        tags = version.tags
        called = [str(version.number), *(alias for alias, number in aliases.items() if number == version.number)]
        model = tags.get("model", "–").rpartition(".")[2].removesuffix("Classifier")
        shown.add_row(
            " ".join(called), tags.get("day", "–"), model, *(tags.get(name, "–")[:6] for name in _SHOWN_METRICS)
        )
    return shown


def _plain(text: str) -> Text:
    """Delivered text as it is, but for what a terminal would obey."""
    return Text("".join(letter if letter.isprintable() else "\ufffd" for letter in text))
