"""A list is cut into parts and put together again, and the accounting balance to the row."""

import csv
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.common.accounting import read_outcomes, write_outcomes
from cloob.common.errors import InputError
from cloob.download.ledger import SCHEMA, bounds, read_part, write_ledger
from cloob.download.summary import merge_outcomes, write_summary

# How often each outcome comes, with the status that a server gave.
FATES = [("kept", 200), ("http_404", 404), ("timeout", None), ("not_an_image", 200), ("http_503", 503)]


def ledger_of(uids: pa.ChunkedArray, part: int) -> pa.Table:
    """A ledger of these links, every outcome in turn."""
    rows = [FATES[(number + part) % len(FATES)] for number in range(len(uids))]
    kept = [outcome == "kept" for outcome, _ in rows]

    def if_kept(value: object) -> list[object]:
        return [value if one else None for one in kept]

    columns = [
        uids,
        [outcome for outcome, _ in rows],
        [status for _, status in rows],
        if_kept("0" * 64),
        [0] * len(rows),
        if_kept(f"{part:04d}/round_0/00000.tar"),
        if_kept(512),
        if_kept(1000),
    ]
    return pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA)


def write_links(path: Path, rows: int) -> None:
    uids = [f"{number:09d}" for number in range(rows)]
    links = {"uid": uids, "url": [f"http://a.example/{uid}" for uid in uids], "caption": uids}
    pq.write_table(pa.table(links), path, row_group_size=100_000)


def write_ledgers(links: Path, parts: int) -> list[Path]:
    ledgers = [links.parent / f"{part:04d}_ledger.parquet" for part in range(parts)]
    for part, path in enumerate(ledgers):
        write_ledger(path, ledger_of(read_part(links, part, parts)["uid"], part))
    return ledgers


@pytest.fixture
def cut(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A list of 1 000 links, and the ledgers of its seven parts."""
    write_links(tmp_path / "urls.parquet", 1000)
    return tmp_path / "urls.parquet", write_ledgers(tmp_path / "urls.parquet", 7)


@pytest.mark.parametrize(("rows", "parts"), [(0, 1), (1, 3), (7, 7), (10, 3), (3_318_333, 8)])
def test_the_parts_are_the_list(rows: int, parts: int):
    edges = [bounds(rows, part, parts) for part in range(parts)]
    assert edges[0][0] == 0
    assert edges[-1][1] == rows
    assert [end for _, end in edges[:-1]] == [first for first, _ in edges[1:]]
    sizes = [end - first for first, end in edges]
    assert max(sizes) - min(sizes) <= 1


def test_a_part_is_read_across_row_groups(tmp_path: Path):
    uids = [str(number) for number in range(100)]
    table = pa.table({"caption": uids, "uid": uids, "url": uids})
    pq.write_table(table, tmp_path / "urls.parquet", row_group_size=9)
    parts = [read_part(tmp_path / "urls.parquet", part, 6) for part in range(6)]
    assert pa.concat_tables(parts)["uid"].to_pylist() == uids
    assert parts[0].column_names == ["uid", "url"]


def test_what_is_no_table_of_links_is_refused(tmp_path: Path):
    (tmp_path / "urls.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="no table of links"):
        read_part(tmp_path / "urls.parquet", 0, 1)
    pq.write_table(pa.table({"uid": ["1"]}), tmp_path / "urls.parquet")
    with pytest.raises(InputError, match="no table of links"):
        read_part(tmp_path / "urls.parquet", 0, 1)


def test_the_outcomes_of_all_parts_are_the_list(cut: tuple[Path, list[Path]], tmp_path: Path):
    found = merge_outcomes(*cut, tmp_path / "outcomes.csv")
    assert found == read_outcomes(tmp_path / "outcomes.csv")
    assert found.total() == 1000
    assert set(found) == {outcome for outcome, _ in FATES}


def test_a_missing_part_a_part_twice_and_a_changed_row_are_errors(
    cut: tuple[Path, list[Path]], tmp_path: Path
):
    links, ledgers = cut
    for wrong in (ledgers[:-1], [*ledgers, ledgers[0]], [ledgers[1], ledgers[0], *ledgers[2:]]):
        with pytest.raises(InputError, match="delete it and fetch again"):
            merge_outcomes(links, wrong, tmp_path / "outcomes.csv")
    table = pq.read_table(ledgers[3])
    uids = ["x", *table["uid"].to_pylist()[1:]]
    write_ledger(ledgers[3], table.set_column(0, "uid", pa.array(uids)))
    with pytest.raises(InputError, match=r"0003_ledger.parquet: its 143 rows are not the 143 of part 3 of 7"):
        merge_outcomes(links, ledgers, tmp_path / "outcomes.csv")
    ledgers[3].write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"0003_ledger.parquet: no ledger"):
        merge_outcomes(links, ledgers, tmp_path / "outcomes.csv")
    assert not (tmp_path / "outcomes.csv").exists()


def test_the_summary_tells_where_every_row_of_every_list_ended(cut: tuple[Path, list[Path]], tmp_path: Path):
    _, ledgers = cut
    write_links(tmp_path / "few.parquet", 2)
    (tmp_path / "few").mkdir()
    write_ledger(
        tmp_path / "few" / "0.parquet", ledger_of(read_part(tmp_path / "few.parquet", 0, 1)["uid"], 0)
    )
    accounting = {"train": tmp_path / "train.csv", "validation": tmp_path / "validation.csv"}
    write_outcomes(accounting["train"], {"kept": 1000, "not_http": 20, "empty_url": 5}, 1025)
    write_outcomes(accounting["validation"], {"kept": 2}, 2)
    of_splits = {"train": ledgers, "validation": [tmp_path / "few" / "0.parquet"]}
    ends = write_summary(accounting, of_splits, tmp_path / "summary.csv")
    assert ends.total() == 1025 + 2
    rows = list(csv.DictReader((tmp_path / "summary.csv").read_text().splitlines()))
    assert list(rows[0]) == ["split", "stage", "outcome", "http_status", "rows"]
    counted = Counter()
    for row in rows:
        counted[row["split"], row["stage"]] += int(row["rows"])
        assert row["http_status"] == str(dict(FATES).get(row["outcome"]) or "") or row["stage"] == "list"
    assert counted == {("train", "list"): 1025, ("train", "fetch"): 1000} | {
        ("validation", "list"): 2,
        ("validation", "fetch"): 2,
    }
    write_outcomes(accounting["train"], {"kept": 1001}, 1001)
    with pytest.raises(InputError, match="the accounting of train do not balance: 1,001 links"):
        write_summary(accounting, of_splits, tmp_path / "summary.csv")
    for one in ({"train": accounting["train"]}, accounting | {"test": accounting["train"]}):
        with pytest.raises(InputError, match="give both the list's outcomes and the ledgers"):
            write_summary(one, of_splits, tmp_path / "summary.csv")


MERGE = """
import resource, sys
from pathlib import Path
from cloob.common.accounting import write_outcomes
from cloob.download.summary import merge_outcomes, write_summary
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
links, *ledgers = map(Path, sys.argv[1:])
found = merge_outcomes(links, ledgers, links.with_name("outcomes.csv"))
write_outcomes(links.with_name("urls_outcomes.csv"), {"kept": found.total()}, found.total())
accounting = {"train": links.with_name("urls_outcomes.csv")}
ends = write_summary(accounting, {"train": ledgers}, links.with_name("summary.csv"))
print(found.total(), ends.total(), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""


def test_the_books_of_a_million_rows_balance_in_little_memory_and_time(tmp_path: Path):
    links = tmp_path / "urls.parquet"
    write_links(links, 1_000_000)
    ledgers = write_ledgers(links, 8)
    began = time.monotonic()
    command = [sys.executable, "-c", MERGE, links, *ledgers]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, ends, megabytes = map(int, done.stdout.split())
    assert rows == ends == 1_000_000
    assert megabytes < 300
    assert time.monotonic() - began < 30
