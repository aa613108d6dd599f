"""OpenAI's subset of YFCC100M joined with the metadata."""

import bz2
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from served import rows_of

from cloob.download.captions import RULES, plain_texts
from cloob.download.fates import read_fates
from cloob.download.yfcc import join_yfcc
from cloob.errors import InputError


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
    links, fates = tmp_path / "links.parquet", tmp_path / "fates.csv"
    join_yfcc([metadata_file], subset_file, caption, "http://bucket.example/data/images/", links, fates)
    return rows_of(links), read_fates(fates)


def test_a_listed_photo_becomes_a_link_under_its_hash(tmp_path: Path) -> None:
    links, fates = join(tmp_path, [record(line) for line in range(6)], [entry(1), entry(4)])
    assert links[1] == {
        "uid": "000000002",
        "url": "http://bucket.example/data/images/abc/004/abc0040123456789.jpg",
        "caption": "A dog",
        "row": 2,
        "line": "4",
        "photo_id": "904",
    }
    assert fates == {"kept": 2}


def test_every_row_of_the_subset_has_one_fate(tmp_path: Path) -> None:
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
    links, fates = join(tmp_path, metadata, subset)
    assert [link["row"] for link in links] == [1, 9]
    assert fates == {
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
    assert drawn[400:] == ["title"] * 20 + ["description"] * 20
    some = join(tmp_path, records, [entry(i) for i in range(100, 120)], "random")[0]
    assert [link["caption"] for link in some] == drawn[100:120]


def test_the_metadata_may_be_split_in_parts(tmp_path: Path) -> None:
    records = [f"{record(line)}\n" for line in range(6)]
    parts = [tmp_path / "meta-0.bz2", tmp_path / "meta-1"]
    parts[0].write_bytes(bz2.compress("".join(records[:3]).encode()))
    parts[1].write_text("".join(records[3:]))
    (tmp_path / "subset").write_text(f"{entry(1)}\n{entry(4)}\n")
    outputs = tmp_path / "links.parquet", tmp_path / "fates.csv"
    join_yfcc(parts, tmp_path / "subset", "title", "http://bucket.example", *outputs)
    assert [link["line"] for link in rows_of(outputs[0])] == ["1", "4"]


def examples() -> list[list[str]]:
    """The rows of the table in docs/captions.md."""
    table = (
        (Path(__file__).parents[2] / "docs" / "captions.md").read_text().split("| --- | --- | --- | --- |")[1]
    )
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
            tmp_path / "links.parquet",
            tmp_path / "fates.csv",
        )


def test_lists_that_do_not_belong_together_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do they belong together"):
        join(tmp_path, [record(0)], ["0\t1\tffffffff"])
