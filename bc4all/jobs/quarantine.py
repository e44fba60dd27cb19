"""A client's refused rows: staged beside its output, published with it, and what makes a client fail for them."""

import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from pyspark.sql import SparkSession

import bc4all
from bc4all.config.clients import Client
from bc4all.data.audit import audit_counts
from bc4all.data.journal import QUARANTINE
from bc4all.data.products import Products, refused
from bc4all.data.publishing import Publisher, stage_together, staged_part
from bc4all.errors import DataError, Failure
from bc4all.jobs.context import JobContext
from bc4all.jobs.waves import Member, Wave


class HasProducts(Protocol):
    """What a job has come to with a client whose products are read."""

    products: Products


T = TypeVar("T", bound=HasProducts)


def keep_refused(context: JobContext, wave: Wave[T], members: Sequence[Member[T]], folder: str) -> list[Member[T]]:
    """Write the refused rows of clients below `folder`, give each its own, and return the clients that may go on."""
    some = [member for member in members if member.progress.products.refused_rows]
    staged: dict[int, str | Failure] = {}
    if some:
        with wave.together(some, "quarantine"):
            staged = _stage_refused(context.spark, folder, [member.progress.products for member in some])

    def keep(member: Member[T]) -> None:
        own = staged.get(member.number)
        _keep_refused(context, member.publisher, member.client, member.progress.products, own)

    return wave.each(members, keep)


def _stage_refused(spark: SparkSession, folder: str, read_at_once: Sequence[Products]) -> dict[int, str | Failure]:
    """Write the refused rows of clients that have some below `folder`; return where, or what went wrong, for each."""
    alike: dict[tuple[tuple[str, str], ...], list[Products]] = {}
    for products in read_at_once:
        alike.setdefault(tuple(products.wanted.features.items()), []).append(products)
    found: dict[int, str | Failure] = {}
    for number, some in enumerate(alike.values()):
        staged = f"{folder}/{QUARANTINE}-{number}"
        stage_together(refused(some).repartition(1), staged)
        wrong = audit_counts(spark, staged, {products.number: products.refused_rows for products in some})
        for products in some:
            own = products.number
            found[own] = wrong.get(own, staged_part(staged, own))
    return found


def _keep_refused(
    context: JobContext, publisher: Publisher, client: Client, products: Products, staged: str | Failure | None
) -> None:
    """Take what `_stage_refused` gave for a client; publish it, and raise DataError, where it is too much, or all."""
    if isinstance(staged, Failure):
        raise staged
    if staged:
        publisher.adopt(staged, QUARANTINE)
    if products.too_many_refused(client.max_quarantine):
        products.check_unchanged(context.files)
        publish_refused(context, publisher, client, products)
        worst = max(products.refusals, key=lambda reason: products.refusals[reason])
        raise_it = f" or raise max_quarantine to {math.ceil(100 * products.refused_rows / products.rows) / 100:.2f}"
        raise DataError(
            f"{products.refused_rows} of {products.rows} rows refused, most for: {worst}",
            f"see {publisher.target(QUARANTINE)}",
            f"mend the data{raise_it if products.accepted_rows else ''}",
        )


def publish_refused(context: JobContext, publisher: Publisher, client: Client, products: Products) -> None:
    """Make the refused rows the date's quarantine, or take that of a run before away."""
    if products.refused_rows:
        publisher.publish(QUARANTINE, manifest(context, client, products) | {"reasons": dict(products.refusals)})
    else:
        publisher.remove(QUARANTINE)


def manifest(context: JobContext, client: Client, products: Products) -> dict[str, Any]:
    """Return what both kinds of published partitions say of where they come from."""
    return {
        "client_id": client.id,
        "date": context.day,
        "backfilled": context.backfilled,
        "code_version": bc4all.__version__,
        "config_sha": client.sha,
        "rows_in": products.rows,
        "rows_quarantined": products.refused_rows,
        "lines_empty": products.empty_lines,
    }
