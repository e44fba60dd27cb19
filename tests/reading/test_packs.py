"""Packs: what is put in comes out, what is counted of them adds up, and ids that come twice are found."""

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.kinds import Features
from bc4all.reading.doubles import DOUBLED, RefuseDoubled, ShareKeys, find_doubled, mark_all
from bc4all.reading.packs import PACKED, packed, packs_by_client, rows_in, rows_of, value_frame, value_frames
from bc4all.reading.refusals import Refusals
from bc4all.reading.rows import Wanted, read_csv

FEATURES: Features = {"title": "text", "f0": "numeric"}
WANTED = Wanted(FEATURES, labelled=True)
LINES = ["p1,k,t,1.5", "p2,k,,", "p1,k,t,2", "bad,k,t,x", "p3,k,t", ",k,t,1", "p2,k,again,3"]


def read(lines: list[str], wanted: Wanted = WANTED) -> list[pa.RecordBatch]:
    """The rows of a file, its end last."""
    content = "\n".join(["product_id,category_id,title,f0", *lines]).encode()
    return list(read_csv("file:///x.csv", 0, [content], wanted))


def facts(packs: list[pa.RecordBatch]) -> "Counter[tuple[str, str | None]]":
    """Rows by kind and name."""
    found: Counter[tuple[str, str | None]] = Counter()
    for pack in packs:
        for fact in pack["facts"][0].as_py():
            found[fact["kind"], fact["name"]] += fact["count"]
    return found


def test_a_pack_keeps_its_rows_and_says_what_they_are() -> None:
    """Values, faults and lines come back; rows are counted by their fault, and so is what else is asked for."""
    wanted = Wanted(FEATURES, labelled=True, count=lambda frame: [("title", "all", False, len(frame))])
    packs = [packed(0, rows, wanted) for rows in read(LINES, wanted)]
    assert facts(packs) == {
        **{("rows", None): 4, ("rows", "f0 is no number"): 1, ("rows", "no product_id"): 1},
        **{("rows", "malformed CSV line"): 1, ("bin", "title"): 4, ("end", None): 0},
    }
    frames = [value_frame(rows_of(pack["rows"][0].as_buffer()), FEATURES) for pack in packs if pack["rows"][0].is_valid]
    frame = pd.concat(frames)
    assert frame["product_id"].tolist() == ["p1", "p2", "p1", "p2"]
    assert frame["title"].tolist() == ["t", None, "t", "again"]
    np.testing.assert_array_equal(frame["f0"], [1.5, np.nan, 2, 3])


def test_the_first_of_two_ids_counts_in_one_task() -> None:
    """Where a task has all rows, it refuses those that come later."""
    packs = [packed(0, rows, WANTED) for rows in mark_all(read(LINES))]
    assert facts(packs)["rows", DOUBLED] == 2
    assert facts(packs)["rows", None] == 2


def test_a_task_remembers_so_many_ids_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows behind those stay as they are: the keys of all are compared."""
    monkeypatch.setattr("bc4all.reading.doubles.MAX_SEEN", 2)
    (*values, end) = read(["p1,k,t,1", "p1,k,t,2", "p2,k,t,3", "p1,k,t,4"])
    rows = pa.concat_batches(values)
    parts = [rows.slice(0, 3), rows.slice(3), end]
    faults = [fault for some in mark_all(parts) for fault in some["fault"].to_pylist()]
    assert faults == [None, DOUBLED, None, None, None]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.integers(1, 5), st.integers(1, 7))
def test_the_first_of_two_ids_counts_in_many_tasks(ids: list[str], buckets: int, pack_rows: int) -> None:
    """However rows are cut into packs, and keys dealt out: as if one task had them all."""
    lines = [f"{product},k,t{place},1" for place, product in enumerate(ids)]
    alone = facts([packed(0, rows, WANTED) for rows in mark_all(read(lines))])
    (*values, end) = read(lines)
    parts = [rows.slice(at, pack_rows) for rows in values for at in range(0, rows.num_rows, pack_rows)]
    packs = [packed(0, rows, WANTED) for rows in [*parts[::-1], end]]
    shared = [part for pack in packs[:-1] for part in ShareKeys(buckets)(iter([pack.select(["client", "keys"])]))]
    doubled = []
    for bucket in range(buckets):
        its = [part.filter(pa.compute.equal(part["bucket"], bucket)) for part in shared]
        doubled += [row for found in find_doubled(iter(its)) for row in found["row"].to_pylist()]

    class Value:
        value = {0: np.sort(np.array(doubled, np.int64))} if doubled else {}

    refused = [pack for some in packs for pack in RefuseDoubled({0: WANTED}, Value)(iter([some]))]
    assert facts(refused) == alone
    firsts = {product: f"t{place}" for place, product in reversed(list(enumerate(ids)))}
    frames = [value_frame(rows, FEATURES) for _, rows in rows_in(refused[:-1])]
    assert {row.product_id: row.title for frame in frames for row in frame.itertuples()} == firsts


def test_one_equal_hash_of_two_makes_no_double() -> None:
    """Of two ids whose first hashes are the same, both stay; a third row with both hashes of the first is later."""
    keys = np.array([[7, 7, 7, 8], [1, 2, 1, 1], [30, 20, 40, 10]], np.int64)
    column = pa.array([keys.tobytes()], pa.binary())
    (found,) = find_doubled(iter([pa.RecordBatch.from_arrays([pa.array([5]), column], ["client", "keys"])]))
    assert found.to_pylist() == [{"client": 5, "row": 40}]


def test_equal_ids_of_two_clients_are_no_doubles() -> None:
    """Each client's rows are compared with its own."""
    keys = np.array([[7, 8], [1, 2], [10, 20]], np.int64)
    columns = [pa.array([5, 6]), pa.array([keys.tobytes()] * 2, pa.binary())]
    found = find_doubled(iter([pa.RecordBatch.from_arrays(columns, ["client", "keys"])]))
    assert sum(batch.num_rows for batch in found) == 0


@pytest.mark.parametrize("sizes", [[25_000, 3], [1] * 50, [10_000, 10_001], [9_999, 1, 1]])
def test_a_model_gets_rows_in_batches_of_bounded_size(sizes: list[int]) -> None:
    """However large or small packs are: every row once, in order, ten thousand at most."""
    rows, ends = np.arange(sum(sizes)), np.cumsum(sizes)
    batches = [
        part for part in read([f"p{row},k,t{row},{row}" for row in rows.tolist()]) if part["file_end"].null_count
    ]
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()[0].select(PACKED.names)
    packs = [whole.slice(end - size, size).serialize().to_pybytes() for size, end in zip(sizes, ends, strict=True)]
    client, own = next(packs_by_client([pd.DataFrame({"client": 7, "rows": packs})]))
    assert client == 7
    frames = list(value_frames(own, WANTED.features))
    assert max(map(len, frames)) <= 10_000
    assert len(frames) <= len(rows) / 10_000 + 2
    joined = pd.concat(frames, ignore_index=True)
    assert joined["f0"].tolist() == rows.tolist()
    assert joined["title"].tolist() == [f"t{row}" for row in rows.tolist()]


def test_refused_rows_say_what_they_said() -> None:
    """The texts as delivered, the line where there are none, numbers as they were read of a doubled row."""
    packs = [packed(0, rows, WANTED) for rows in mark_all(read(LINES))]
    refusals = Refusals(WANTED, {0: ["file:///x.csv"]})
    batches = list(refusals(pack.select(["client", "rows"]) for pack in packs if pack["rows"][0].is_valid))
    found = pa.Table.from_batches(batches).to_pandas().set_index("reason")
    assert found.loc["f0 is no number", "f0"] == "x"
    assert found.loc["malformed CSV line", "line"] == "p3,k,t"
    assert found.loc[DOUBLED, ["product_id", "title", "f0"]].to_numpy().tolist() == [
        ["p1", "t", "2.0"],
        ["p2", "again", "3.0"],
    ]
    assert set(found["file"]) == {"file:///x.csv"}
