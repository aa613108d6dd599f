"""The reader of URL lists in any TSV, CSV or Parquet file."""

import bz2
import errno
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora import url_collection, url_list
from tests.helpers.recording_server import read_rows

DOG, CAT = "http://a.example/dog.jpg", "http://a.example/cat.jpg"


def read(path: Path | list[Path], **options: Any) -> tuple[list[tuple[int, str, str]], dict[str, int]]:
    """Row number, URL and caption of each kept row, and the row accounting."""
    folder = (path if isinstance(path, Path) else path[0]).parent
    urls, outcomes = folder / "urls.parquet", folder / "outcomes.csv"
    counts = url_list.read(urls, outcomes, path, **options)
    assert counts == {outcome: rows for outcome, rows in read_outcomes(outcomes).items() if rows}
    return [(row["row"], row["url"], row["caption"]) for row in read_rows(urls)], counts


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_cc12m_tsv_of_url_and_caption_without_a_header(tmp_path: Path) -> None:
    path = written(tmp_path / "cc12m.tsv", f'{DOG}\ta "dog", barking\n{CAT}\ta cat\n')
    rows, counts = read(path, header=False, url_column=0, caption_column=1)
    assert rows == [(1, DOG, 'a "dog", barking'), (2, CAT, "a cat")]
    assert counts == {"kept": 2}


def test_parquet_with_named_columns(tmp_path: Path) -> None:
    table = {"SAMPLE_ID": [1, 2, 3, 4], "URL": [DOG, None, CAT, DOG], "TEXT": ["a dog", "x", None, "again"]}
    pq.write_table(pa.table(table), tmp_path / "laion.parquet")
    rows, counts = read(tmp_path / "laion.parquet", url_column="URL", caption_column="TEXT")
    assert rows == [(1, DOG, "a dog")]
    assert counts == {"kept": 1, "empty_url": 1, "empty_caption": 1, "duplicate_url": 1}


@pytest.mark.parametrize("text_type", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_columns_of_any_text_type_are_read(tmp_path: Path, text_type: pa.DataType) -> None:
    columns = {"url": pa.array([DOG, CAT], text_type), "caption": pa.array(["dog", "cat"], text_type)}
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    rows, _ = read(tmp_path / "list.parquet")
    assert rows == [(1, DOG, "dog"), (2, CAT, "cat")]


def test_parquet_text_that_is_not_utf8_is_rejected_row_by_row(tmp_path: Path) -> None:
    captions = pa.array([b"caf\xe9", b"a cat"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"url": [DOG, CAT], "caption": captions}), tmp_path / "list.parquet")
    rows, counts = read(tmp_path / "list.parquet")
    assert rows == [(2, CAT, "a cat")]
    assert counts == {"kept": 1, "not_utf8": 1}


def test_csv_with_quoted_commas_quotes_and_newlines(tmp_path: Path) -> None:
    content = f'caption,id,url\r\n"a dog, ""Rex"",\r\nbarking",7,{DOG}\r\na cat,8,"{CAT}"\r\n'
    rows, counts = read(written(tmp_path / "list.csv", content))
    assert rows == [(1, DOG, 'a dog, "Rex", barking'), (2, CAT, "a cat")]
    assert counts == {"kept": 2}


def test_a_csv_quote_that_is_not_closed_rejects_only_its_own_line(tmp_path: Path) -> None:
    content = f'url,caption\n{DOG},a dog\n{DOG},"no end\n{CAT},a cat\n{CAT},"text"after\n'
    rows, counts = read(written(tmp_path / "list.csv", content))
    assert rows == [(1, DOG, "a dog"), (3, CAT, "a cat")]
    assert counts == {"kept": 2, "malformed_row": 2}


def test_an_open_csv_quote_in_a_long_file_is_given_up_after_128_kb(tmp_path: Path) -> None:
    urls = [f"http://a.example/{number}.jpg" for number in range(10_000)]
    content = 'url,caption\nx,"no end\n' + "".join(f"{url},a photo\n" for url in urls)
    rows, counts = read(written(tmp_path / "list.csv", content))
    assert [url for _, url, _ in rows] == urls
    assert counts == {"kept": 10_000, "malformed_row": 1}


def test_rows_with_another_number_of_columns_or_invalid_text_are_rejected(tmp_path: Path) -> None:
    content = b"url\tcaption\n%s\ta dog\n\n%s\n%s\ta\tb\n%s\tcaf\xe9\n" % (
        (DOG.encode(),) + (CAT.encode(),) * 3
    )
    rows, counts = read(written(tmp_path / "list.tsv", content))
    assert rows == [(1, DOG, "a dog")]
    assert counts == {"kept": 1, "malformed_row": 3, "not_utf8": 1}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["list.csv", "list.csv.bz2"])
def test_byte_order_mark_line_endings_and_bzip2_are_accepted(tmp_path: Path, newline: str, name: str) -> None:
    content = b"\xef\xbb\xbf" + newline.join(["url,caption", f"{DOG},a dog", f"{CAT},a cat"]).encode()
    rows, _ = read(written(tmp_path / name, bz2.compress(content) if name.endswith("bz2") else content))
    assert rows == [(1, DOG, "a dog"), (2, CAT, "a cat")]


def test_rows_of_several_files_are_numbered_consecutively_and_deduplicated(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "0.tsv", f"url\tcaption\n{DOG}\ta dog\nftp://x\ty\n"),
        written(tmp_path / "1.csv", f"caption,url\nagain,{DOG}\na cat,{CAT}\n"),
    ]
    rows, counts = read(paths)
    assert rows == [(1, DOG, "a dog"), (4, CAT, "a cat")]
    assert counts == {"kept": 2, "not_http": 1, "duplicate_url": 1}


@pytest.mark.parametrize("rows_per_pass", [1000, 9])
def test_the_first_of_several_rows_with_a_url_is_kept_across_row_groups_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_pass: int
) -> None:
    monkeypatch.setattr(url_collection, "ROWS_PER_GROUP", 7)
    monkeypatch.setattr(url_collection, "_ROWS_PER_PASS", rows_per_pass)
    rows = [(f"http://a.example/{number * number % 37}.jpg", f"photo {number}") for number in range(100)]
    path = written(tmp_path / "list.tsv", "".join(f"{url}\t{caption}\n" for url, caption in rows))
    kept, counts = read(path, header=False, url_column=0, caption_column=1)
    first: dict[str, tuple[int, str, str]] = {}
    for number, (url, caption) in enumerate(rows, start=1):
        first.setdefault(url, (number, url, caption))
    assert kept == list(first.values())
    assert counts == {"kept": len(first), "duplicate_url": 100 - len(first)}


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.tsv", f"{DOG}\tx\n", {}, r"a\.tsv: no column 'url'; its columns are http://a.example/dog.jpg, x"),
        (
            "a.tsv",
            f"url\tcaption\n{DOG}\tx\n",
            {"url_column": 2},
            "no column 2; its columns are url, caption",
        ),
        (
            "a.tsv",
            f"{DOG}\tx\n",
            {"header": False},
            "without a header the column 'url' must be given by its number",
        ),
        (
            "a.tsv",
            f"{DOG}\tx\n",
            {"header": False, "url_column": 0, "caption_column": 5},
            "no column 5; it has 2",
        ),
        ("a.csv", 'url,"caption\n', {}, "the first row is not a header; .*--header=false"),
        (
            "a.txt",
            f"{DOG},x\n",
            {"header": False, "url_column": 0, "caption_column": 1},
            r"it has 1; rename it to \.csv",
        ),
        ("a.tsv", "url\tcaption\nx\ty\n", {}, r"none of 1 rows .*\(not_http 1\); the first row is 'x\\ty'"),
        ("a.tsv", "url\tcaption\n", {}, r"none of 0 rows .*\(no rows\)"),
        ("a.parquet", "PAR1 and no more", {}, "not a readable Parquet file"),
        ("a.tsv", b"PAR1" + bytes(20), {}, "a Parquet file where text is expected"),
        ("a.csv", f"{DOG},x\n".encode("utf-16"), {}, "UTF-16 text; convert it"),
    ],
)
def test_an_unusable_file_is_an_error_and_leaves_no_output(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(InputError, match=message):
        read(path, **options)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_parquet_column_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": [1], "caption": ["a dog"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column url holds int64, not text"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["url", 1])
def test_a_parquet_column_whose_name_is_not_unique_is_an_error(tmp_path: Path, column: str | int) -> None:
    table = pa.table([[DOG], [CAT], ["a dog"]], names=["url", "url", "caption"])
    pq.write_table(table, tmp_path / "list.parquet")
    with pytest.raises(InputError, match=r"list\.parquet: several columns are named 'url'; rename all but"):
        read(tmp_path / "list.parquet", url_column=column)


def test_a_text_column_whose_name_is_not_unique_is_given_by_its_number(tmp_path: Path) -> None:
    path = written(tmp_path / "list.tsv", f"url\turl\tcaption\n{DOG}\t{CAT}\ta cat\n")
    with pytest.raises(InputError, match=r"list\.tsv: several columns are named 'url'"):
        read(path)
    assert read(path, url_column=1)[0] == [(1, CAT, "a cat")]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for name in ("list.tsv", "list.parquet"):
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / name)


def test_file_names_with_glob_patterns_are_taken_literally(tmp_path: Path) -> None:
    folder = tmp_path / "a [1] * {b} ?"
    folder.mkdir()
    rows, _ = read(written(folder / "list.tsv", f"url\tcaption\n{DOG}\ta dog\n{DOG}\tagain\n"))
    assert rows == [(1, DOG, "a dog")]


def test_what_a_killed_process_left_behind_does_not_matter(tmp_path: Path) -> None:
    scratch = tmp_path / ".urls.parquet.tmp"
    scratch.mkdir()
    (scratch / "candidates.parquet").write_bytes(b"incomplete")
    (tmp_path / ".urls.node1.4711.parquet").write_bytes(b"incomplete")
    rows, _ = read(written(tmp_path / "list.tsv", f"url\tcaption\n{DOG}\ta dog\n"))
    assert rows == [(1, DOG, "a dog")]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_disk_that_duckdb_has_filled_is_an_error_of_the_output_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise duckdb.IOException("IO Error: Could not write file: No space left on device")

    monkeypatch.setattr(duckdb, "connect", fail)
    with pytest.raises(OSError) as caught:
        read(written(tmp_path / "list.tsv", f"url\tcaption\n{DOG}\ta dog\n"))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "urls.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["list.tsv"]
