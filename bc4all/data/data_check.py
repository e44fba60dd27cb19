"""What `bc4all check` finds out about delivered data from names, headers and footers, without Spark."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from bc4all.config.clients import Client
from bc4all.data.columns import check_columns, data_names, file_kind, find_header
from bc4all.data.delivery import check_listed
from bc4all.data.published import open_folder
from bc4all.errors import DataError, Failure
from bc4all.layout import Layout


def check_data(layout: Layout, client: Client) -> list[str]:
    """Return what keeps a client from being trained and scored, as far as folders and headers tell: a line a fault."""
    faults = []
    for job, folder, names in (
        ("train", layout.training(client.id), ["product_id", "category_id", *client.features]),
        ("predict", layout.prediction(client.id), ["product_id", *client.features]),
    ):
        try:
            _check_partition(*open_folder(layout, folder), folder, names)
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
