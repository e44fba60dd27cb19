"""A client's refused rows: staged beside its output, published with it, and what makes a client fail for them."""

import math
from typing import Any

import bc4all
from bc4all.config.clients import Client
from bc4all.data.audit import audit_count
from bc4all.data.journal import QUARANTINE
from bc4all.data.products import Products
from bc4all.data.publishing import Publisher
from bc4all.errors import DataError
from bc4all.jobs.context import JobContext
from bc4all.jobs.session import phase


def stage_refused(context: JobContext, publisher: Publisher, client: Client, job: str, products: Products) -> None:
    """Write the refused rows; publish them, and raise DataError, where they are too many or all."""
    if products.refused_rows:
        with phase(context.spark, client.id, job, "quarantine"):
            staged = publisher.stage(products.refused.repartition(1), QUARANTINE)
            audit_count(context.spark, staged, products.refused_rows)
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
        "code_version": bc4all.__version__,
        "config_sha": client.sha,
        "rows_in": products.rows,
        "rows_quarantined": products.refused_rows,
        "lines_empty": products.empty_lines,
    }
