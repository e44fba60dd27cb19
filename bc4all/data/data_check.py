"""What `bc4all check` finds out about delivered data from names, headers and footers, without Spark."""

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyarrow import types as pt

from bc4all.config.clients import Client
from bc4all.data.delivery import check_listed, check_name, data_names, file_kind, wrong_type
from bc4all.data.published import open_folder
from bc4all.errors import DataError, Failure
from bc4all.kinds import NUMERIC
from bc4all.layout import Layout
from bc4all.reading.header import check_columns, find_header
from bc4all.reading.rows import Wanted


def check_data(layout: Layout, client: Client) -> list[str]:
    """Return what keeps a client from being trained and scored, as far as folders and headers tell: a line a fault."""
    faults = []
    for job, folder, is_labelled in (
        ("train", layout.training(client.id), True),
        ("predict", layout.prediction(client.id), False),
    ):
        try:
            _check_partition(*open_folder(layout, folder), folder, Wanted(client.features, is_labelled))
        except Failure as failure:
            faults.append(f"{client.id}: {job} would fail: {failure}")
    return faults


def _check_partition(storage: fs.FileSystem, root: str, folder: str, wanted: Wanted) -> None:
    entries: dict[str, fs.FileInfo] = {}

    def listing() -> list[str]:
        found = storage.get_file_info(fs.FileSelector(root, allow_not_found=True))
        entries.update((entry.base_name, entry) for entry in found)
        return [entry.base_name for entry in found]

    names_there = check_listed(folder, root, listing) if isinstance(storage, fs.LocalFileSystem) else listing()
    for name in data_names(folder, names_there):
        uri = f"{folder}/{name}"
        check_name(uri, is_file=entries[name].type != fs.FileType.Directory)
        try:
            _check_columns(storage, f"{root}/{name}", uri, wanted)
        except (pa.ArrowException, OSError, EOFError) as error:
            raise DataError(f"{uri} cannot be read: {error}", remedy="deliver it again") from error


def _check_columns(storage: fs.FileSystem, path: str, uri: str, wanted: Wanted) -> None:
    if file_kind(uri) == "parquet":
        with storage.open_input_file(path) as file:
            schema = pq.read_schema(file)
        check_columns(uri, schema.names, wanted.names)
        for name in wanted.names:
            _check_type(uri, name, schema.field(name).type, wanted.features.get(name))
        return

    def head(size: int) -> bytes:
        with storage.open_input_stream(path, compression="detect") as stream:
            return bytes(stream.read(size))

    header = find_header(uri, head)
    if header:
        check_columns(uri, header.names, wanted.names)


def _check_type(uri: str, name: str, found: pa.DataType, kind: str | None) -> None:
    """Raise DataError for what the jobs do not take: an id is text or a whole number, a number may be text."""
    found = found.value_type if pt.is_dictionary(found) else found
    is_text = pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found)
    is_number = pt.is_integer(found) and not pt.is_uint64(found)  # which Spark reads as a decimal
    if kind is not None:
        is_number |= pt.is_uint64(found) or pt.is_float32(found) or pt.is_float64(found) or pt.is_decimal(found)
        is_text |= pt.is_boolean(found) and kind != NUMERIC
    if not is_text and not is_number:
        raise wrong_type(uri, name, str(found), kind)
