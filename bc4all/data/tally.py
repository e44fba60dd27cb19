"""Each file's records, counted apart from the parser that reads them: none may be lost on the way, or come twice.

Of a CSV file every line that is not blank belongs to its header or to one of its rows, accepted or refused; of a
parquet file every row that its footer counts is one. Nothing here knows what a quote or a comma is.
"""

from collections.abc import Mapping
from urllib.parse import unquote

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from bc4all.data.filesystem import escape_glob
from bc4all.data.partition import Footer, Heads, is_text
from bc4all.errors import DataError


def file_name(uri: str) -> str:
    """Return a file's name in its folder, by the URI that Spark gives for it."""
    return unquote(uri.rpartition("/")[2])


def delivered_lines(spark: SparkSession, heads: Heads) -> dict[str, int]:
    """Return by name how many lines of each CSV file, blank ones and its header apart, or rows of a parquet file."""
    lines = dict.fromkeys((entry.name for entry in heads), 0)
    texts = [escape_glob(entry.uri) for entry, head in heads.items() if not isinstance(head, Footer)]
    if texts:
        rows = spark.read.text(texts).groupBy(F.input_file_name().alias("file"))
        counted = rows.agg(F.count_if(is_text(F.col("value"))).alias("lines"))
        lines |= {file_name(row["file"]): row["lines"] for row in counted.collect()}
    for entry, head in heads.items():
        lines[entry.name] += head.rows if isinstance(head, Footer) else -(head.lines if head else 0)
    return lines


def check_lines(folder: str, delivered: Mapping[str, int], taken: Mapping[str, int]) -> None:
    """Raise DataError by the first file whose rows took another number of lines than it has. `taken` lacks no rows."""
    for name, lines in sorted(delivered.items()):
        lost = lines - taken.get(name, 0)
        if lost:
            what = f"{lost} of {lines} lines are in no row" if lost > 0 else f"{-lost} lines too many are in its rows"
            remedy = "nothing was published: look there for a quote that is not closed, or deliver it as parquet"
            raise DataError(f"{folder}/{name}: {what}", remedy=remedy)
