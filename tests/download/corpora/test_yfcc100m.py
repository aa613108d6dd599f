"""The join of OpenAI's subset with the text form of YFCC100M's metadata."""

import bz2
import gzip
import lzma
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora import yfcc100m
from cloob.download.corpora.caption_rules import CAPTION_RULES
from cloob.download.corpora.plain_text import plain_texts
from tests.helpers.recording_server import read_rows
from tests.helpers.repository import ROOT


def metadata_row(line: int, title: str = "A dog", description: str = "", *, video: bool = False) -> str:
    columns = [str(line), photo_id(line), photo_hash(line)] + [""] * 22
    columns[8], columns[9], columns[24] = quote_plus(title), quote_plus(description), str(int(video))
    return "\t".join(columns)


def photo_id(line: int) -> str:
    return str(900 + line)


def photo_hash(line: int) -> str:
    return f"abc{line:03d}0123456789"


def subset_row(line: int) -> str:
    return f"{line}\t{photo_id(line)}\t{photo_hash(line)}"


def join(
    tmp_path: Path, metadata: list[str], subset: list[str], caption: str = "title_description"
) -> tuple[list[dict], dict[str, int]]:
    """URL table and row accounting of these lines of the two files."""
    metadata_file, subset_file = tmp_path / "meta.bz2", tmp_path / "subset.tsv.bz2"
    for file, rows in ((metadata_file, metadata), (subset_file, subset)):
        file.write_bytes(bz2.compress("".join(f"{row}\n" for row in rows).encode()))
    urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    base_url = "http://bucket.example/data/images/"
    yfcc100m.read(urls, outcomes, [metadata_file], subset_file, caption, base_url)
    return read_rows(urls), read_outcomes(outcomes)


def test_a_listed_photo_becomes_a_url_with_its_hash(tmp_path: Path) -> None:
    rows, outcomes = join(tmp_path, [metadata_row(line) for line in range(6)], [subset_row(1), subset_row(4)])
    assert rows[1] == {
        "uid": "000000002",
        "url": "http://bucket.example/data/images/abc/004/abc0040123456789.jpg",
        "caption": "A dog",
        "row": 2,
        "line": "4",
        "photo_id": "904",
    }
    assert outcomes == {"kept": 2}


def test_every_row_of_the_subset_has_one_outcome(tmp_path: Path) -> None:
    metadata = [
        metadata_row(0),
        metadata_row(1, video=True),
        metadata_row(2, title="", description="<b> </b>"),
        metadata_row(3),
        metadata_row(4),
        "5\tcut off",
        metadata_row(8),
    ]
    subset = [
        subset_row(0),
        subset_row(1),
        subset_row(2),
        f"3\t1\t{photo_hash(3)}",
        f"4\t{photo_id(4)}\tffffffff",
        f"5\t{photo_id(5)}\t{photo_hash(5)}",
        subset_row(7),
        "not a row",
        subset_row(8),
        subset_row(9),
    ]
    rows, outcomes = join(tmp_path, metadata, subset)
    assert [row["row"] for row in rows] == [1, 9]
    assert outcomes == {
        "kept": 2,
        "video": 1,
        "no_caption": 1,
        "photo_id_disagrees": 1,
        "hash_disagrees": 1,
        "malformed_metadata": 1,
        "malformed_row": 1,
        "not_in_metadata": 2,
    }


@pytest.mark.parametrize(
    ("rule", "caption"),
    [("title_description", "My dog He ran"), ("title", "My dog"), ("description", "He ran")],
)
def test_the_caption_follows_the_rule(tmp_path: Path, rule: str, caption: str) -> None:
    rows, _ = join(tmp_path, [metadata_row(0, "My dog", "He ran")], [subset_row(0)], rule)
    assert [row["caption"] for row in rows] == [caption]


def test_random_chooses_title_or_description_by_photo_and_never_an_empty_text(tmp_path: Path) -> None:
    metadata = [metadata_row(line, "title", "description") for line in range(400)]
    metadata += [metadata_row(line, "title") for line in range(400, 420)]
    metadata += [metadata_row(line, "", "description") for line in range(420, 440)]
    rows, _ = join(tmp_path, metadata, [subset_row(line) for line in range(440)], "random")
    captions = [row["caption"] for row in rows]
    assert 160 < captions[:400].count("title") < 240
    assert captions[400:] == ["title"] * 20 + ["description"] * 20
    rows, _ = join(tmp_path, metadata, [subset_row(line) for line in range(100, 120)], "random")
    assert [row["caption"] for row in rows] == captions[100:120]


def test_the_metadata_may_be_split_into_parts(tmp_path: Path) -> None:
    lines = [f"{metadata_row(line)}\n" for line in range(6)]
    parts = [tmp_path / "meta-0.bz2", tmp_path / "meta-1"]
    parts[0].write_bytes(bz2.compress("".join(lines[:3]).encode()))
    parts[1].write_text("".join(lines[3:]))
    (tmp_path / "subset").write_text(f"{subset_row(1)}\n{subset_row(4)}\n")
    urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    yfcc100m.read(urls, outcomes, parts, tmp_path / "subset", "title", "http://bucket.example")
    assert [row["line"] for row in read_rows(urls)] == ["1", "4"]


def examples() -> list[list[str]]:
    """The rows of the table in docs/captions.md."""
    table = (ROOT / "docs" / "captions.md").read_text().split("| --- | --- | --- | --- |")[1]
    rows = [line.strip("|").split("|") for line in table.splitlines()[1:] if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


@pytest.mark.parametrize(("title", "description", "rule", "caption"), examples())
def test_the_examples_in_the_documentation_hold(title: str, description: str, rule: str, caption: str):
    texts = plain_texts([title.encode(), description.encode()])
    assert CAPTION_RULES[rule](*texts, "4711") == caption


@pytest.mark.parametrize(
    ("typed", "caption"),
    [
        ("100% Käse + Brot", "100% Käse + Brot"),
        ('see <a href="http://x.example" rel="nofollow">more</a><br/>here', "see more here"),
        ("cats &amp; dogs &lt;3 &quot;friends&quot;", 'cats & dogs <3 "friends"'),
        ("i <3 this, 2 < 4 > 1", "i <3 this, 2 < 4 > 1"),
        ("two\n\nlines\tand\x00 a\x85bell\x07", "two lines and a bell"),
    ],
    ids=["URL-encoded", "tags", "entities", "no tags", "control characters"],
)
def test_captions_are_plain_text(tmp_path: Path, typed: str, caption: str) -> None:
    rows, _ = join(tmp_path, [metadata_row(0, typed)], [subset_row(0)])
    assert [row["caption"] for row in rows] == [caption]


@pytest.mark.parametrize("which", ["metadata", "subset"])
def test_an_unsorted_file_is_an_error_instead_of_dropped_rows(tmp_path: Path, which: str) -> None:
    lists = {
        "metadata": [metadata_row(line) for line in range(4)],
        "subset": [subset_row(line) for line in range(4)],
    }
    lists[which].reverse()
    with pytest.raises(InputError, match="must ascend"):
        join(tmp_path, lists["metadata"], lists["subset"])


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    join(tmp_path, [metadata_row(line) for line in range(200)], [subset_row(199)])
    archive = tmp_path / "meta.bz2"
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"meta\.bz2: damaged"):
        yfcc100m.read(
            tmp_path / "urls.parquet",
            tmp_path / "outcomes.csv",
            archive,
            tmp_path / "subset.tsv.bz2",
            "title",
            "http://bucket.example",
        )


def test_files_without_a_common_photo_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do they belong together"):
        join(tmp_path, [metadata_row(0)], ["0\t1\tffffffff"])


METADATA, SUBSET = [metadata_row(line) for line in range(6)], [subset_row(1), subset_row(4)]
WITHOUT_NUMBERS = [row.split("\t", 1)[1].rsplit("\t", 1)[0] for row in METADATA]


@pytest.mark.parametrize(
    ("metadata", "subset", "message"),
    [
        (
            SUBSET,
            METADATA,
            r"rows are `line<TAB>photo id<TAB>hash`, but .* 25 columns.* swap --subset and --metadata",
        ),
        (METADATA, [photo_id(1)], r"`line<TAB>photo id<TAB>hash`, but its first has 1 column: '901'"),
        (METADATA, ["1,901,abc"], r"has 1 column: '1,901,abc'"),
        (
            WITHOUT_NUMBERS,
            SUBSET,
            r"has 25 columns, but its first row has 23 columns.* give the SQLite file itself",
        ),
        ([f"{row}\t" for row in METADATA], SUBSET, r"has 25 columns, but its first row has 26 columns"),
        (SUBSET, SUBSET, r"has 25 columns, but its first row has 3 columns.* swap --subset and --metadata"),
        (
            [f"{line + 1}\t{metadata_row(line).split(chr(9), 1)[1]}" for line in range(6)],
            SUBSET,
            r"photo_id_disagrees 2; the subset starts with line 1 \(photo 901\), the metadata with line 1 "
            r"\(photo 900\): the line numbers belong to another edition or are shifted",
        ),
        (
            [metadata_row(line) for line in range(50, 60)],
            SUBSET,
            r"not_in_metadata 2; .* with line 1 .* with line 50 ",
        ),
    ],
)
def test_the_error_explains_why_no_row_matches(
    tmp_path: Path, metadata: list[str], subset: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        join(tmp_path, metadata, subset)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "urls.parquet").exists()


@pytest.mark.parametrize("which", ["metadata", "subset"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"1\t2", mtime=0), r"gzip-compressed; unpack it \(`gunzip`\)"),
        (lzma.compress(b"1\t2"), r"xz-compressed; unpack it \(`unxz`\)"),
        (b"PK\x03\x04" + bytes(30), "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a git-lfs pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page, probably an error message"),
        (b"", "empty; download it again"),
        ("1\t2\n".encode("utf-16"), "UTF-16 text; convert it"),
        ("1\t2\n".encode("utf-16-le"), "UTF-16 text; convert it"),
        (bz2.compress(gzip.compress(b"1\t2", mtime=0)), "gzip-compressed"),
        (b"PAR1" + bytes(30), "a Parquet file where text is expected"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_the_error_names_the_actual_format_of_a_file(
    tmp_path: Path, which: str, content: bytes, message: str, suffix: str
) -> None:
    files = {"metadata": tmp_path / f"metadata{suffix}", "subset": tmp_path / f"subset{suffix}"}
    files["metadata"].write_bytes(bz2.compress("\n".join(METADATA).encode()))
    files["subset"].write_bytes(bz2.compress("\n".join(SUBSET).encode()))
    files[which].write_bytes(content)
    with pytest.raises(InputError, match=f"{files[which]}: .*{message}"):
        urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
        yfcc100m.read(urls, outcomes, files["metadata"], files["subset"], "title", "http://b.example/")


def test_any_line_ending_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    for newline in ("\n", "\r\n", "\r"):
        metadata, subset = tmp_path / "metadata", tmp_path / "subset"
        metadata.write_bytes(b"\xef\xbb\xbf" + (newline.join(METADATA) + newline).encode())
        subset.write_bytes(b"\xef\xbb\xbf" + newline.join(SUBSET).encode())
        urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
        yfcc100m.read(urls, outcomes, metadata, subset, "title", "http://b.example/")
        assert [row["line"] for row in read_rows(urls)] == ["1", "4"]
        assert read_outcomes(outcomes) == {"kept": 2}
