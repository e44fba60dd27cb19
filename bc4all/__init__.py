"""Better Categories 4All: one product-category model per client, trained and applied with Spark."""

__version__ = "0.1.0"
