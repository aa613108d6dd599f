"""Conceptual Captions' lists, read as they are."""

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
from cloob.download.corpora.conceptual_captions import read as read_conceptual_captions
from tests.helpers.served_parts import rows_of

LINK = "http://photos.example/1.jpg"


def read(tmp_path: Path, *rows: bytes | str) -> tuple[list[dict], dict[str, int]]:
    encoded = [row.encode() if isinstance(row, str) else row for row in rows]
    list_file, links, outcomes = tmp_path / "list.tsv", tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    list_file.write_bytes(b"\n".join(encoded) + b"\n")
    read_cc(list_file, links, outcomes)
    return rows_of(links), read_outcomes(outcomes)


def test_a_row_becomes_a_link_that_knows_its_place_in_the_list(tmp_path: Path) -> None:
    links, outcomes = read(tmp_path, "no tab", f"a dog\t{LINK}")
    assert links == [{"uid": "000000002", "url": LINK, "caption": "a dog", "row": 2}]
    assert outcomes == {"kept": 1, "malformed_row": 1}


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        (f'" a dog\t{LINK}', '" a dog'),
        (f'"a dog, "" barking\t{LINK}', '"a dog, "" barking'),
        (f"a dog\tand a cat\t{LINK}", "a dog and a cat"),
        (f"a\x00 dog\x0b  runs\t{LINK}\r", "a dog runs"),
        (f"ein Hund läuft – 犬\t{LINK}", "ein Hund läuft – 犬"),
    ],
    ids=["one quote", "odd quotes", "tab within", "control characters, CRLF", "not ASCII"],
)
def test_odd_captions_are_kept(tmp_path: Path, row: str, caption: str) -> None:
    links, _ = read(tmp_path, row)
    assert [(link["caption"], link["url"]) for link in links] == [(caption, LINK)]


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        (b"", "malformed_row"),
        (b"a caption without a link", "malformed_row"),
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
        (LINK.join(("a second caption\t", "")).encode(), "duplicate_url"),
    ],
)
def test_what_cannot_be_fetched_is_refused_with_its_reason(tmp_path: Path, row: bytes, outcome: str) -> None:
    links, outcomes = read(tmp_path, f"first\t{LINK}", row)
    assert [link["row"] for link in links] == [1]
    assert outcomes == {"kept": 1, outcome: 1}


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("http://a.example/my dog.jpg", "http://a.example/my%20dog.jpg"),
        ("http://a.example/grüße.jpg?q=ä b", "http://a.example/gr%C3%BC%C3%9Fe.jpg?q=%C3%A4%20b"),
        ("http://a.example/100%25.jpg", "http://a.example/100%25.jpg"),
        ("http://a.example/ä%20b.jpg", "http://a.example/%C3%A4%20b.jpg"),
        ("HTTP://a.example/1.jpg", "http://a.example/1.jpg"),
        ("http://bücher.example:80/1.jpg#top", "http://xn--bcher-kva.example:80/1.jpg"),
    ],
)
def test_links_go_over_the_wire_encoded(tmp_path: Path, link: str, url: str) -> None:
    links, _ = read(tmp_path, f"a dog\t {link} ")
    assert [link["url"] for link in links] == [url]


def test_a_list_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"list\.tsv: none of 2 rows"):
        read(tmp_path, "name,link", "dog,http://a.example/1.jpg")
    assert not (tmp_path / "urls.parquet").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{LINK}\ta dog\n".encode(), "the link comes first: swap the columns"),
        (f"a dog,{LINK}\n".encode(), f"the first has 1 columns: 'a dog,{LINK}'"),
        (gzip.compress(f"a dog\t{LINK}\n".encode(), mtime=0), r"gzip-compressed; unpack it \(`gunzip`\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (b"<html>Sign in", "a web page"),
        (b"", "empty"),
        (f"a dog\t{LINK}\n".encode("utf-16"), "UTF-16 text; convert it"),
    ],
)
def test_a_list_of_another_form_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.tsv").write_bytes(content)
    with pytest.raises(InputError, match=rf"list\.tsv: .*{said}"):
        read_cc(tmp_path / "list.tsv", tmp_path / "urls.parquet", tmp_path / "outcomes.csv")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lists_of_other_systems_are_read(tmp_path: Path, mark: bytes, newline: str, packed: bool) -> None:
    rows = [f"dog {number}\thttp://a.example/{number}.jpg" for number in range(50_000)]
    content = mark + (newline.join(rows) + newline).encode()
    (tmp_path / "list.tsv").write_bytes(bz2.compress(content, 1) if packed else content)
    links, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    read_cc(tmp_path / "list.tsv", links, outcomes)
    assert read_outcomes(outcomes) == {"kept": 50_000}
    assert [rows_of(links)[at]["caption"] for at in (0, -1)] == ["dog 0", "dog 49999"]


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_cc(tmp_path / "list.tsv", tmp_path / "urls.parquet", tmp_path / "outcomes.csv")


@pytest.mark.slow
def test_a_million_rows_need_bounded_memory_and_each_has_its_outcome(tmp_path: Path) -> None:
    odd = [b"", b"no tab", b"caf\xe9\thttp://a.example/x", b" \thttp://a.example/x", b"a\tftp://a.example/x"]
    with (tmp_path / "list.tsv").open("wb") as file:
        for row in range(1_000_000):
            usual = b'"dog %d\tand "" cat\thttp://a.example/%d.jpg' % (row, row - row % 10)
            file.write((odd[row % 5] if row % 4 == 0 else usual) + b"\n")
    links, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    code = """
import resource, sys
from pathlib import Path
from cloob.download.corpora.conceptual_captions import read as read_conceptual_captions
read_cc(*map(Path, sys.argv[1:]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    arguments = [sys.executable, "-c", code, tmp_path / "list.tsv", links, outcomes]
    peak = int(subprocess.run(arguments, check=True, capture_output=True).stdout)
    assert peak < 600_000  # kB, libraries included
    rows = range(1_000_000)
    kept = {row - row % 10 for row in rows if row % 4}
    refused = Counter(row % 5 for row in rows if row % 4 == 0)
    assert read_outcomes(outcomes) == {
        "kept": len(kept),
        "duplicate_url": 750_000 - len(kept),
        "malformed_row": refused[0] + refused[1],
        "not_utf8": refused[2],
        "empty_caption": refused[3],
        "not_http": refused[4],
    }
    assert pq.read_metadata(links).num_rows == len(kept)
