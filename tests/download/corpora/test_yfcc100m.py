"""OpenAI's subset of YFCC100M joined with the metadata."""

import bz2
import gzip
import lzma
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora.captions import RULES, plain_texts
from cloob.download.corpora.yfcc100m import join_yfcc
from tests.helpers.repository import ROOT
from tests.helpers.served_parts import rows_of


def record(line: int, title: str = "A dog", description: str = "", *, video: bool = False) -> str:
    columns = [str(line), photo_id(line), photo_hash(line)] + [""] * 22
    columns[8], columns[9], columns[24] = quote_plus(title), quote_plus(description), str(int(video))
    return "\t".join(columns)


def photo_id(line: int) -> str:
    return str(900 + line)


def photo_hash(line: int) -> str:
    return f"abc{line:03d}0123456789"


def entry(line: int) -> str:
    return f"{line}\t{photo_id(line)}\t{photo_hash(line)}"


def join(
    tmp_path: Path, metadata: list[str], subset: list[str], caption: str = "title_description"
) -> tuple[list[dict], dict[str, int]]:
    metadata_file, subset_file = tmp_path / "meta.bz2", tmp_path / "subset.tsv.bz2"
    for file, rows in ((metadata_file, metadata), (subset_file, subset)):
        file.write_bytes(bz2.compress("".join(f"{row}\n" for row in rows).encode()))
    links, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    join_yfcc([metadata_file], subset_file, caption, "http://bucket.example/data/images/", links, outcomes)
    return rows_of(links), read_outcomes(outcomes)


def test_a_listed_photo_becomes_a_link_under_its_hash(tmp_path: Path) -> None:
    links, outcomes = join(tmp_path, [record(line) for line in range(6)], [entry(1), entry(4)])
    assert links[1] == {
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
        record(0),
        record(1, video=True),
        record(2, title="", description="<b> </b>"),
        record(3),
        record(4),
        "5\tcut off",
        record(8),
    ]
    subset = [
        entry(0),
        entry(1),
        entry(2),
        f"3\t1\t{photo_hash(3)}",
        f"4\t{photo_id(4)}\tffffffff",
        f"5\t{photo_id(5)}\t{photo_hash(5)}",
        entry(7),
        "not a row",
        entry(8),
        entry(9),
    ]
    links, outcomes = join(tmp_path, metadata, subset)
    assert [link["row"] for link in links] == [1, 9]
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
def test_the_caption_is_made_by_the_rule(tmp_path: Path, rule: str, caption: str) -> None:
    links, _ = join(tmp_path, [record(0, "My dog", "He ran")], [entry(0)], rule)
    assert [link["caption"] for link in links] == [caption]


def test_random_is_one_of_the_two_always_the_same_of_a_photo_and_never_nothing(tmp_path: Path) -> None:
    records = [record(line, "title", "description") for line in range(400)]
    records += [record(line, "title") for line in range(400, 420)]
    records += [record(line, "", "description") for line in range(420, 440)]
    drawn = [link["caption"] for link in join(tmp_path, records, [entry(i) for i in range(440)], "random")[0]]
    assert 160 < drawn[:400].count("title") < 240
    assert drawn[400:] == ["title"] * 20 + ["spec"] * 20
    some = join(tmp_path, records, [entry(i) for i in range(100, 120)], "random")[0]
    assert [link["caption"] for link in some] == drawn[100:120]


def test_the_metadata_may_be_split_in_parts(tmp_path: Path) -> None:
    records = [f"{record(line)}\n" for line in range(6)]
    parts = [tmp_path / "meta-0.bz2", tmp_path / "meta-1"]
    parts[0].write_bytes(bz2.compress("".join(records[:3]).encode()))
    parts[1].write_text("".join(records[3:]))
    (tmp_path / "subset").write_text(f"{entry(1)}\n{entry(4)}\n")
    outputs = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    join_yfcc(parts, tmp_path / "subset", "title", "http://bucket.example", *outputs)
    assert [link["line"] for link in rows_of(outputs[0])] == ["1", "4"]


def examples() -> list[list[str]]:
    """The rows of the table in docs/captions.md."""
    table = (ROOT / "docs" / "captions.md").read_text().split("| --- | --- | --- | --- |")[1]
    rows = [line.strip("|").split("|") for line in table.splitlines()[1:] if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


@pytest.mark.parametrize(("title", "description", "rule", "caption"), examples())
def test_the_examples_that_people_read_are_true(title: str, description: str, rule: str, caption: str):
    texts = plain_texts([title.encode(), description.encode()])
    assert RULES[rule](*texts, "4711") == caption


@pytest.mark.parametrize(
    ("typed", "caption"),
    [
        ("100% Käse + Brot", "100% Käse + Brot"),
        ('see <a href="http://x.example" rel="nofollow">more</a><br/>here', "see more here"),
        ("cats &amp; dogs &lt;3 &quot;friends&quot;", 'cats & dogs <3 "friends"'),
        ("i <3 this, 2 < 4 > 1", "i <3 this, 2 < 4 > 1"),
        ("two\n\nlines\tand\x00 a\x85bell\x07", "two lines and a bell"),
    ],
    ids=["url-encoded", "tags", "entities", "no tags", "control characters"],
)
def test_captions_are_what_the_user_meant(tmp_path: Path, typed: str, caption: str) -> None:
    links, _ = join(tmp_path, [record(0, typed)], [entry(0)])
    assert [link["caption"] for link in links] == [caption]


@pytest.mark.parametrize("which", ["metadata", "subset"])
def test_a_file_out_of_order_is_an_error_not_a_loss(tmp_path: Path, which: str) -> None:
    lists = {"metadata": [record(line) for line in range(4)], "subset": [entry(line) for line in range(4)]}
    lists[which].reverse()
    with pytest.raises(InputError, match="must ascend"):
        join(tmp_path, lists["metadata"], lists["subset"])


def test_a_cut_off_archive_is_an_error(tmp_path: Path) -> None:
    join(tmp_path, [record(line) for line in range(200)], [entry(199)])
    archive = tmp_path / "meta.bz2"
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"meta\.bz2: damaged"):
        join_yfcc(
            [archive],
            tmp_path / "subset.tsv.bz2",
            "title",
            "http://bucket.example",
            tmp_path / "urls.parquet",
            tmp_path / "outcomes.csv",
        )


def test_lists_that_do_not_belong_together_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do they belong together"):
        join(tmp_path, [record(0)], ["0\t1\tffffffff"])


METADATA, SUBSET = [record(line) for line in range(6)], [entry(1), entry(4)]
WITHOUT_NUMBERS = [row.split("\t", 1)[1].rsplit("\t", 1)[0] for row in METADATA]


@pytest.mark.parametrize(
    ("metadata", "subset", "said"),
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
            [f"{line + 1}\t{record(line).split(chr(9), 1)[1]}" for line in range(6)],
            SUBSET,
            r"photo_id_disagrees 2; the subset begins with line 1 \(photo 901\), the metadata with line 1 "
            r"\(photo 900\): the line numbers are those of another edition, or shifted",
        ),
        (
            [record(line) for line in range(50, 60)],
            SUBSET,
            r"not_in_metadata 2; .* with line 1 .* with line 50 ",
        ),
    ],
)
def test_what_does_not_belong_together_is_told_apart(tmp_path: Path, metadata, subset, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        join(tmp_path, metadata, subset)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "urls.parquet").exists()


@pytest.mark.parametrize("which", ["metadata", "subset"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"1\t2", mtime=0), r"gzip-compressed; unpack it \(`gunzip`\)"),
        (lzma.compress(b"1\t2"), r"xz-compressed; unpack it \(`unxz`\)"),
        (b"PK\x03\x04" + bytes(30), "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a git-lfs pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><title>404</title>", "a web page, probably an error message"),
        (b"", "empty; get it again"),
        ("1\t2\n".encode("utf-16"), "UTF-16 text; convert it"),
        ("1\t2\n".encode("utf-16-le"), "UTF-16 text; convert it"),
        (bz2.compress(gzip.compress(b"1\t2", mtime=0)), "gzip-compressed"),
        (b"PAR1" + bytes(30), "a Parquet file where text is expected"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_a_file_of_another_form_is_named(
    tmp_path: Path, which: str, content: bytes, said: str, suffix: str
) -> None:
    files = {"metadata": tmp_path / f"metadata{suffix}", "subset": tmp_path / f"subset{suffix}"}
    files["metadata"].write_bytes(bz2.compress("\n".join(METADATA).encode()))
    files["subset"].write_bytes(bz2.compress("\n".join(SUBSET).encode()))
    files[which].write_bytes(content)
    with pytest.raises(InputError, match=f"{files[which]}: .*{said}"):
        links, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
        join_yfcc([files["metadata"]], files["subset"], "title", "http://b.example/", links, outcomes)


def test_lists_of_other_systems_are_read(tmp_path: Path) -> None:
    for newline in ("\n", "\r\n", "\r"):
        metadata, subset = tmp_path / "metadata", tmp_path / "subset"
        metadata.write_bytes(b"\xef\xbb\xbf" + (newline.join(METADATA) + newline).encode())
        subset.write_bytes(b"\xef\xbb\xbf" + newline.join(SUBSET).encode())
        links, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
        join_yfcc([metadata], subset, "title", "http://b.example/", links, outcomes)
        assert [row["line"] for row in rows_of(links)] == ["1", "4"]
        assert read_outcomes(outcomes) == {"kept": 2}
