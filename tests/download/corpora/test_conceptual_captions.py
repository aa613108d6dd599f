"""The reader of Conceptual Captions' lists, and the checks that it shares with the reader of any URL list."""

import bz2
import gzip
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora import conceptual_captions
from tests.helpers.peak_memory import PEAK_KILOBYTES
from tests.helpers.recording_server import read_rows

URL = "http://photos.example/1.jpg"


def read(tmp_path: Path, *rows: bytes | str) -> tuple[list[dict], dict[str, int]]:
    """URL table and row accounting of a list of these rows."""
    encoded = [row.encode() if isinstance(row, str) else row for row in rows]
    list_file, urls, outcomes = tmp_path / "list.tsv", tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    list_file.write_bytes(b"\n".join(encoded) + b"\n")
    conceptual_captions.read(urls, outcomes, list_file)
    return read_rows(urls), read_outcomes(outcomes)


def test_a_url_has_the_row_number_of_the_list(tmp_path: Path) -> None:
    rows, outcomes = read(tmp_path, "no tab", f"a dog\t{URL}")
    assert rows == [{"uid": "000000002", "url": URL, "caption": "a dog", "row": 2}]
    assert outcomes == {"kept": 1, "malformed_row": 1}


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        (f'" a dog\t{URL}', '" a dog'),
        (f'"a dog, "" barking\t{URL}', '"a dog, "" barking'),
        (f"a dog\tand a cat\t{URL}", "a dog and a cat"),
        (f"a\x00 dog\x0b  runs\t{URL}\r", "a dog runs"),
        (f"ein Hund läuft – 犬\t{URL}", "ein Hund läuft – 犬"),
    ],
    ids=["one quote", "unbalanced quotes", "tab in caption", "control characters, CRLF", "non-ASCII"],
)
def test_unusual_captions_are_kept(tmp_path: Path, row: str, caption: str) -> None:
    rows, _ = read(tmp_path, row)
    assert [(row["caption"], row["url"]) for row in rows] == [(caption, URL)]


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        (b"", "malformed_row"),
        (b"a caption without a URL", "malformed_row"),
        (b"caf\xe9\thttp://a.example/2.jpg", "not_utf8"),
        (b" \thttp://a.example/2.jpg", "empty_caption"),
        (b"a dog\t ", "empty_url"),
        (b"a dog\tftp://a.example/2.jpg", "not_http"),
        (b"a dog\tdata:image/png;base64,AAAA", "not_http"),
        (b"a dog\twww.a.example/2.jpg", "not_http"),
        (b"a dog\thttp:///2.jpg", "invalid_url"),
        (b"a dog\thttp://a.example:port/2.jpg", "invalid_url"),
        (b"a dog\thttp://[::1/2.jpg", "invalid_url"),
        (b"a dog\thttp://a..example/2.jpg?\xc3\xa9", "invalid_url"),
        (b"a dog\thttp://user name@/2.jpg", "invalid_url"),
        (f"a second caption\t{URL}".encode(), "duplicate_url"),
    ],
)
def test_an_unusable_row_is_rejected_with_its_reason(tmp_path: Path, row: bytes, outcome: str) -> None:
    rows, outcomes = read(tmp_path, f"first\t{URL}", row)
    assert [row["row"] for row in rows] == [1]
    assert outcomes == {"kept": 1, outcome: 1}


@pytest.mark.parametrize(
    ("listed", "normalized"),
    [
        ("http://a.example/my dog.jpg", "http://a.example/my%20dog.jpg"),
        ("http://a.example/grüße.jpg?q=ä b", "http://a.example/gr%C3%BC%C3%9Fe.jpg?q=%C3%A4%20b"),
        ("http://a.example/100%25.jpg", "http://a.example/100%25.jpg"),
        ("http://a.example/ä%20b.jpg", "http://a.example/%C3%A4%20b.jpg"),
        ("HTTP://a.example/1.jpg", "http://a.example/1.jpg"),
        ("http://bücher.example:80/1.jpg#top", "http://xn--bcher-kva.example:80/1.jpg"),
    ],
)
def test_urls_are_normalized(tmp_path: Path, listed: str, normalized: str) -> None:
    rows, _ = read(tmp_path, f"a dog\t {listed} ")
    assert [row["url"] for row in rows] == [normalized]


def test_urls_that_differ_only_in_their_fragment_are_duplicates(tmp_path: Path) -> None:
    listed = (f"a\t{URL}#top", f"b\t{URL}", f"c\t{URL}#ä")
    rows, outcomes = read(tmp_path, *listed)
    assert [row["url"] for row in rows] == [URL]
    assert outcomes == {"kept": 1, "duplicate_url": 2}


def test_a_list_without_any_usable_row_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"list\.tsv: none of 2 rows"):
        read(tmp_path, "name,url", "dog,http://a.example/1.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["list.tsv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{URL}\ta dog\n".encode(), "the URL comes first: swap the columns"),
        (f"a dog,{URL}\n".encode(), f"the first has 1 columns: 'a dog,{URL}'"),
        (gzip.compress(f"a dog\t{URL}\n".encode(), mtime=0), r"gzip-compressed; unpack it \(`gunzip`\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"<html>Sign in", "a web page"),
        (b"", "empty"),
        (f"a dog\t{URL}\n".encode("utf-16"), "UTF-16 text; convert it"),
    ],
)
def test_the_error_names_the_actual_format_of_a_list(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.tsv").write_bytes(content)
    with pytest.raises(InputError, match=rf"list\.tsv: .*{message}"):
        conceptual_captions.read(tmp_path / "urls.parquet", tmp_path / "outcomes.csv", tmp_path / "list.tsv")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("byte_order_mark", [b"", b"\xef\xbb\xbf"])
def test_any_line_ending_and_a_byte_order_mark_are_accepted(
    tmp_path: Path, byte_order_mark: bytes, newline: str, compressed: bool
) -> None:
    rows = [f"dog {number}\thttp://a.example/{number}.jpg" for number in range(50_000)]
    content = byte_order_mark + (newline.join(rows) + newline).encode()
    (tmp_path / "list.tsv").write_bytes(bz2.compress(content, 1) if compressed else content)
    urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    conceptual_captions.read(urls, outcomes, tmp_path / "list.tsv")
    assert read_outcomes(outcomes) == {"kept": 50_000}
    assert [read_rows(urls)[index]["caption"] for index in (0, -1)] == ["dog 0", "dog 49999"]


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        conceptual_captions.read(tmp_path / "urls.parquet", tmp_path / "outcomes.csv", tmp_path / "list.tsv")


MEASURED_READ = """
import sys
from pathlib import Path
from cloob.download.corpora.conceptual_captions import read
read(*map(Path, sys.argv[1:]))
print(peak_kilobytes())
"""


@pytest.mark.slow
def test_a_million_rows_need_bounded_memory_and_each_has_its_outcome(tmp_path: Path) -> None:
    unusable = [
        b"",
        b"no tab",
        b"caf\xe9\thttp://a.example/x",
        b" \thttp://a.example/x",
        b"a\tftp://a.example/x",
    ]
    with (tmp_path / "list.tsv").open("wb") as file:
        for row in range(1_000_000):
            usable = b'"dog %d\tand "" cat\thttp://a.example/%d.jpg' % (row, row - row % 10)
            file.write((unusable[row % 5] if row % 4 == 0 else usable) + b"\n")
    urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    command = [sys.executable, "-c", PEAK_KILOBYTES + MEASURED_READ, urls, outcomes, tmp_path / "list.tsv"]
    peak = int(subprocess.run(command, check=True, capture_output=True).stdout)
    assert peak < 600_000  # kB, libraries included
    rows = range(1_000_000)
    kept = {row - row % 10 for row in rows if row % 4}
    rejected = Counter(row % 5 for row in rows if row % 4 == 0)
    assert read_outcomes(outcomes) == {
        "kept": len(kept),
        "duplicate_url": 750_000 - len(kept),
        "malformed_row": rejected[0] + rejected[1],
        "not_utf8": rejected[2],
        "empty_caption": rejected[3],
        "not_http": rejected[4],
    }
    assert pq.read_metadata(urls).num_rows == len(kept)
