"""What is published, read by Arrow: no Spark is needed to look at it."""

import contextlib
import json
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from bc4all.errors import ConfigurationError, DataError, TransientFailure
from bc4all.identity import ClientId, Day
from bc4all.job_kinds import PREDICT
from bc4all.layout import MANIFEST, Layout

_RANKED = ["product_id", "pred_label", "pred_score", "rank"]
_READAHEAD = {"batch_readahead": 2, "fragment_readahead": 1}  # Arrow's own holds 100 MB more of a million products


@dataclass(frozen=True)
class Published:
    """Some products of one published partition, and its manifest."""

    client_id: ClientId
    day: Day
    manifest: dict[str, Any]
    rows: pa.Table  # sorted by product_id, then rank


def read_published(
    layout: Layout, client_id: ClientId, day: Day | None, product_ids: Sequence[str], products: int
) -> Published:
    """Return the categories of `product_ids`, or of the first `products` by id, of a date or of the latest.

    Raises DataError where nothing is published, or a product is not there.
    """
    storage, root = open_folder(layout, layout.published_client(client_id))
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
    manifest = _read_manifest(storage, folder)
    return Published(client_id, day, manifest, rows.sort_by([("product_id", "ascending"), ("rank", "ascending")]))


def open_folder(layout: Layout, uri: str) -> tuple[fs.FileSystem, str]:
    """Return Arrow's file system for a folder below DATA_PREFIX, and the path in it.

    Raise TransientFailure where Arrow cannot open it.
    """
    if layout.local_path is not None:
        return fs.LocalFileSystem(), str(layout.local_path) + uri.removeprefix(layout.prefix)
    try:
        storage, root = fs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TransientFailure(f"Arrow cannot open {uri}: {error}", remedy="read it with Spark instead") from error
    return storage, root


def published_days(layout: Layout, client_id: ClientId) -> list[Day]:
    """Return the dates for which the client's categories are published, in order."""
    storage, root = open_folder(layout, layout.published_client(client_id))
    found = storage.get_file_info(fs.FileSelector(root, allow_not_found=True))
    days = []
    for name in (entry.base_name for entry in found if entry.base_name.startswith("date=")):
        with contextlib.suppress(ConfigurationError):  # set aside by a person, say: no job has published it
            days.append(Day(name.removeprefix("date=")))
    return sorted(days)


def newest_published(layout: Layout, client_id: ClientId, days: Sequence[Day]) -> tuple[Day, dict[str, Any]] | None:
    """Return the newest of some dates that was not filled in later, and its manifest.

    Where all were: the newest; None where no date has a manifest.
    """
    filled_in = None
    for day in sorted(days, reverse=True):
        for found in manifests(layout, client_id, [day]).items():
            if not found[1].get("backfilled"):
                return found
            filled_in = filled_in or found
    return filled_in


def manifests(layout: Layout, client_id: ClientId, days: Sequence[Day]) -> dict[Day, dict[str, Any]]:
    """Return what the manifests of some published dates say; nothing of a partition without one that can be read."""
    storage, root = open_folder(layout, layout.published_client(client_id))
    found = {}
    for day in days:
        # Replaced in this moment, or not written by a job.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            found[day] = _read_manifest(storage, f"{root}/date={day}")
    return found


def made_by(layout: Layout, client_id: ClientId, versions: Set[int]) -> dict[Day, dict[str, Any]]:
    """Return the published dates that one of some versions of the model has made, in order, and their manifests."""
    every = manifests(layout, client_id, published_days(layout, client_id)) if versions else {}
    return {day: manifest for day, manifest in every.items() if manifest.get("model_version") in versions}


def read_ranked(
    layout: Layout, client_id: ClientId, day: Day, product_ids: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a published date batch by batch: the best of each product, or all of `product_ids`.

    Nothing where the date has no files. Raises TransientFailure where they cannot be read, such as in the moment in
    which they are replaced.
    """
    storage, root = open_folder(layout, layout.published_client(client_id))
    rows = pc.field("rank") == 0 if product_ids is None else pc.field("product_id").isin(list(product_ids))
    try:
        partition = ds.dataset(f"{root}/date={day}", format="parquet", filesystem=storage)
        if partition.files:
            yield from partition.scanner(columns=_RANKED, filter=rows, **_READAHEAD).to_batches()
    except (pa.ArrowException, OSError) as error:
        where = layout.published_partition(client_id, day)
        raise TransientFailure(f"{client_id}: the categories of {day} cannot be read: {error}", where) from error


def refusals(layout: Layout, client_id: ClientId, day: Day) -> dict[str, int]:
    """Return how many rows to predict were refused on a date, by reason; none where no quarantine can be read."""
    storage, root = open_folder(layout, layout.quarantine(PREDICT.data, client_id, day))
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        return {str(reason): int(rows) for reason, rows in (_read_manifest(storage, root).get("reasons") or {}).items()}
    return {}


def _read_manifest(storage: fs.FileSystem, folder: str) -> dict[str, Any]:
    with storage.open_input_stream(f"{folder}/{MANIFEST}") as stream:
        manifest = json.loads(stream.read())
    if not isinstance(manifest, dict):
        raise ValueError("a manifest that is no JSON object")  # noqa: TRY004 - as of what is no JSON at all
    return manifest


def _latest(client_id: ClientId, layout: Layout) -> Day:
    """Return the newest date that was not filled in later; where all were, the newest."""
    days = published_days(layout, client_id)
    if not days:
        where, remedy = layout.published_client(client_id), f"bin/submit.sh predict --client-id {client_id}"
        raise DataError(f"{client_id}: nothing is published", where, remedy)
    storage, root = open_folder(layout, layout.published_client(client_id))
    on_time = (day for day in reversed(days) if not _read_manifest(storage, f"{root}/date={day}").get("backfilled"))
    return next(on_time, days[-1])


def _first(partition: ds.Dataset, products: int) -> list[str]:
    """Return the smallest ids, found without holding the partition: each batch keeps its own few."""
    best: list[str] = []
    for batch in partition.scanner(columns=["product_id"], filter=pc.field("rank") == 0).to_batches():
        ids = batch.column(0)
        places = pc.select_k_unstable(ids, k=products, sort_keys=[("", "ascending")]) if len(ids) > products else None
        best = sorted([*best, *(ids if places is None else ids.take(places)).to_pylist()])[:products]
    return best
