"""A URL table is split into parts and merged again, and the row accounting balances."""

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
from cloob.download.ledger import SCHEMA, describe_urls, part_bounds, read_part, write_ledger
from cloob.download.summary import merge_outcomes, write_summary
from cloob.shards.from_download import download_source
from tests.helpers.peak_memory import PEAK_KILOBYTES

# Outcome and HTTP status of the rows of the ledgers, in turn.
OUTCOMES = [("kept", 200), ("http_404", 404), ("timeout", None), ("not_an_image", 200), ("http_503", 503)]


def ledger_of(uids: pa.ChunkedArray, part: int) -> pa.Table:
    """A ledger of these URLs, with every outcome in turn."""
    rows = [OUTCOMES[(number + part) % len(OUTCOMES)] for number in range(len(uids))]
    kept = [outcome == "kept" for outcome, _ in rows]

    def if_kept(value: object) -> list[object]:
        return [value if is_kept else None for is_kept in kept]

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


def write_numbered_urls(path: Path, rows: int) -> None:
    uids = [f"{number:09d}" for number in range(rows)]
    urls = [f"http://a.example/{uid}" for uid in uids]
    pq.write_table(pa.table({"uid": uids, "url": urls, "caption": uids}), path, row_group_size=100_000)


def write_ledgers(url_table: Path, num_parts: int) -> list[Path]:
    ledgers = [url_table.parent / f"{part:04d}_ledger.parquet" for part in range(num_parts)]
    for part, path in enumerate(ledgers):
        write_ledger(path, ledger_of(read_part(url_table, part, num_parts)["uid"], part))
    return ledgers


@pytest.fixture
def download(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A table of 1,000 URLs, and the ledgers of its seven parts."""
    write_numbered_urls(tmp_path / "urls.parquet", 1000)
    return tmp_path / "urls.parquet", write_ledgers(tmp_path / "urls.parquet", 7)


@pytest.mark.parametrize(("rows", "num_parts"), [(0, 1), (1, 3), (7, 7), (10, 3), (3_318_333, 8)])
def test_the_parts_cover_all_rows_in_equal_shares(rows: int, num_parts: int) -> None:
    bounds = [part_bounds(rows, part, num_parts) for part in range(num_parts)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == rows
    assert [end for _, end in bounds[:-1]] == [start for start, _ in bounds[1:]]
    sizes = [end - start for start, end in bounds]
    assert max(sizes) - min(sizes) <= 1


def test_a_part_is_read_across_row_groups(tmp_path: Path) -> None:
    uids = [str(number) for number in range(100)]
    table = pa.table({"caption": uids, "uid": uids, "url": uids})
    pq.write_table(table, tmp_path / "urls.parquet", row_group_size=9)
    parts = [read_part(tmp_path / "urls.parquet", part, 6) for part in range(6)]
    assert pa.concat_tables(parts)["uid"].to_pylist() == uids
    assert parts[0].column_names == ["uid", "url"]


def test_a_file_that_is_not_a_url_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "urls.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a URL table"):
        read_part(tmp_path / "urls.parquet", 0, 1)
    pq.write_table(pa.table({"uid": ["1"]}), tmp_path / "urls.parquet")
    with pytest.raises(InputError, match="not a URL table"):
        read_part(tmp_path / "urls.parquet", 0, 1)


def test_the_outcomes_of_all_parts_account_for_every_url(
    download: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    counts = merge_outcomes(*download, tmp_path / "outcomes.csv")
    assert counts == read_outcomes(tmp_path / "outcomes.csv")
    assert counts.total() == 1000
    assert set(counts) == {outcome for outcome, _ in OUTCOMES}


def test_missing_repeated_swapped_changed_or_damaged_parts_are_errors(
    download: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    url_table, ledgers = download
    for wrong in (ledgers[:-1], [*ledgers, ledgers[0]], [ledgers[1], ledgers[0], *ledgers[2:]]):
        with pytest.raises(InputError, match="delete it and download again"):
            merge_outcomes(url_table, wrong, tmp_path / "outcomes.csv")
    table = pq.read_table(ledgers[3])
    uids = ["x", *table["uid"].to_pylist()[1:]]
    write_ledger(ledgers[3], table.set_column(0, "uid", pa.array(uids)))
    with pytest.raises(
        InputError, match=r"0003_ledger.parquet: its 143 rows do not match the 143 of part 3 of 7"
    ):
        merge_outcomes(url_table, ledgers, tmp_path / "outcomes.csv")
    ledgers[3].write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"0003_ledger.parquet: not a ledger"):
        merge_outcomes(url_table, ledgers, tmp_path / "outcomes.csv")
    assert not (tmp_path / "outcomes.csv").exists()


def test_a_ledger_of_an_older_list_is_an_error_also_if_its_rows_have_the_same_numbers(tmp_path: Path) -> None:
    write_numbered_urls(tmp_path / "urls.parquet", 10)
    ledgers = [tmp_path / "0_ledger.parquet", tmp_path / "1_ledger.parquet"]
    for part, ledger in enumerate(ledgers):
        urls = read_part(tmp_path / "urls.parquet", part, 2)
        write_ledger(ledger, ledger_of(urls["uid"], part), describe_urls(urls, part, 2))
    assert merge_outcomes(tmp_path / "urls.parquet", ledgers, tmp_path / "outcomes.csv").total() == 10
    table = pq.read_table(tmp_path / "urls.parquet")
    for edited, is_same in (
        (table.set_column(2, "caption", table["url"]), True),
        (table.set_column(1, "url", pa.array(table["url"].to_pylist()[::-1])), False),  # rows were reordered
    ):
        pq.write_table(edited, tmp_path / "urls.parquet")
        for read in (
            lambda: merge_outcomes(tmp_path / "urls.parquet", ledgers, tmp_path / "outcomes.csv"),
            lambda: download_source(ledgers, tmp_path / "urls.parquet"),
        ):
            if is_same:
                read()
                continue
            with pytest.raises(InputError, match=r"0_ledger\.parquet: downloaded from other URLs"):
                read()


def test_the_summary_accounts_for_every_row_of_every_list(
    download: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    write_numbered_urls(tmp_path / "few.parquet", 2)
    few = tmp_path / "few_ledger.parquet"
    write_ledger(few, ledger_of(read_part(tmp_path / "few.parquet", 0, 1)["uid"], 0))
    list_outcomes = {"train": tmp_path / "train.csv", "validation": tmp_path / "validation.csv"}
    write_outcomes(list_outcomes["train"], {"kept": 1000, "not_http": 20, "empty_url": 5}, 1025)
    write_outcomes(list_outcomes["validation"], {"kept": 2}, 2)
    ledgers = {"train": download[1], "validation": [few]}
    counts = write_summary(list_outcomes, ledgers, tmp_path / "summary.csv")
    assert counts.total() == 1025 + 2
    rows = list(csv.DictReader((tmp_path / "summary.csv").read_text().splitlines()))
    assert list(rows[0]) == ["split", "stage", "outcome", "http_status", "rows"]
    totals: Counter[tuple[str, str]] = Counter()
    for row in rows:
        totals[row["split"], row["stage"]] += int(row["rows"])
        assert row["http_status"] == str(dict(OUTCOMES).get(row["outcome"]) or "") or row["stage"] == "list"
    assert totals == {
        ("train", "list"): 1025,
        ("train", "fetch"): 1000,
        ("validation", "list"): 2,
        ("validation", "fetch"): 2,
    }


def test_a_summary_that_does_not_balance_or_lacks_a_file_is_an_error(
    download: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    train = tmp_path / "train.csv"
    write_outcomes(train, {"kept": 1001}, 1001)
    with pytest.raises(InputError, match="the row accounting of train does not balance: 1,001 URLs"):
        write_summary({"train": train}, {"train": download[1]}, tmp_path / "summary.csv")
    for list_outcomes, ledgers in (({"train": train}, {}), ({}, {"train": download[1]})):
        with pytest.raises(InputError, match="give both the list's outcomes and the ledgers"):
            write_summary(list_outcomes, ledgers, tmp_path / "summary.csv")


MERGE_WITH_PEAK_MEMORY = """
import sys
from pathlib import Path
from cloob.common.accounting import write_outcomes
from cloob.download.summary import merge_outcomes, write_summary
before = peak_kilobytes()
url_table, *ledgers = map(Path, sys.argv[1:])
merged = merge_outcomes(url_table, ledgers, url_table.with_name("outcomes.csv"))
listed = url_table.with_name("urls_outcomes.csv")
write_outcomes(listed, {"kept": merged.total()}, merged.total())
summary = write_summary({"train": listed}, {"train": ledgers}, url_table.with_name("summary.csv"))
peak = peak_kilobytes()
print(merged.total(), summary.total(), (peak - before) // 1000)
"""


def test_the_accounting_of_a_million_rows_takes_little_memory_and_time(tmp_path: Path) -> None:
    url_table = tmp_path / "urls.parquet"
    write_numbered_urls(url_table, 1_000_000)
    ledgers = write_ledgers(url_table, 8)
    start = time.monotonic()
    command = [sys.executable, "-c", PEAK_KILOBYTES + MERGE_WITH_PEAK_MEMORY, url_table, *ledgers]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    merged, summarized, megabytes = map(int, done.stdout.split())
    assert merged == summarized == 1_000_000
    assert megabytes < 300
    assert time.monotonic() - start < 30
