"""The merge by blocks against one line by line, on what a metadata file should not hold."""

import bz2
import random
from collections import Counter
from pathlib import Path

import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora import line_reader
from cloob.download.corpora.yfcc100m import read as read_yfcc100m
from tests.download.corpora.test_plain_text import step_by_step
from tests.helpers.served_parts import rows_of

TITLES = [b"", b"My+dog", b"%3Cb%3EMy%3C%2Fb%3E+dog", b"a\rb", b"\xff\xfe", b"%0A", b"x" * 700, b"K%C3%A4se"]


def name_of(number: int) -> bytes:
    return b"%032x" % (number * 7919)


def record(draw: random.Random, number: int) -> bytes:
    """A line of the metadata; one in three has something wrong."""
    columns = [b"%d" % number, b"%d" % (5 * number), name_of(number)] + [b""] * 22
    columns[8], columns[9] = draw.choice(TITLES), draw.choice(TITLES)
    columns[24] = draw.choice([b"0", b"0", b"0", b"1", b""])
    wrong = draw.randrange(24)
    if wrong == 0:
        columns[draw.randrange(3)] = draw.choice([b"", b"abc", b"-1"])
    elif wrong == 1:
        del columns[draw.randrange(1, 25) :]
    elif wrong == 2:
        columns.insert(8, b"more")
    elif wrong == 3:
        columns = [draw.choice([b"", b"\r", b"1", b"\t", b"\t" * 24, b"no number\t1", b"9" * 30 + b"\t"])]
    elif wrong == 4:
        columns[0] = b"000" + columns[0]
    return b"\t".join(columns) + (b"\r" if wrong in (5, 6) else b"")


def entry(draw: random.Random, number: int) -> bytes:
    """A row of the subset; one in six is wrong."""
    row = b"%d\t%d\t%s" % (number, 5 * number, name_of(number))
    wrong = draw.randrange(18)
    if wrong == 0:
        return draw.choice(
            [b"", b"no row", row[:-1] + b"G", row + b"\tmore", row.replace(b"\t", b" "), b"\t\t"]
        )
    if wrong == 1:
        return row.replace(b"\t", b"\t1", 1)
    return row + b"\r" if wrong == 2 else row


def line_by_line(metadata: bytes, subset: bytes) -> tuple[list[tuple], dict[str, int]]:
    """Row, line, photo id and caption of every link, and the outcomes of all rows."""
    records = {}
    for line in metadata.split(b"\n"):
        number, tab, _ = line.partition(b"\t")
        if tab and number.isdigit() and len(number) <= 18:
            records[int(number)] = line.rstrip(b"\r").split(b"\t")
    links, outcomes = [], Counter({"kept": 0})
    for row, line in enumerate(subset.removesuffix(b"\n").split(b"\n"), start=1):
        fields = line.rstrip(b"\r").split(b"\t")
        if len(fields) != 3 or not all(field.isalnum() for field in fields) or fields[2][-1:] == b"G":
            outcomes["malformed_row"] += 1
            continue
        photo = records.get(int(fields[0]))
        if photo is None:
            outcomes["not_in_metadata"] += 1
        elif len(photo) != 25:
            outcomes["malformed_metadata"] += 1
        elif photo[1] != fields[1]:
            outcomes["photo_id_disagrees"] += 1
        elif photo[2] != fields[2]:
            outcomes["hash_disagrees"] += 1
        elif photo[24] == b"1":
            outcomes["video"] += 1
        elif caption := f"{step_by_step(photo[8])} {step_by_step(photo[9])}".strip():
            outcomes["kept"] += 1
            links.append((row, str(int(fields[0])), fields[1].decode(), caption))
        else:
            outcomes["no_caption"] += 1
    return links, dict(outcomes)


def parts_of(draw: random.Random, content: bytes, folder: Path) -> list[Path]:
    """The content cut anywhere, some parts packed, some of those in two streams."""
    cuts = sorted(draw.randrange(len(content) + 1) for _ in range(draw.randrange(4)))
    paths = []
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        kind, part = draw.choice(["plain", "one stream", "two streams"]), content[begin:end]
        path = folder / f"part{len(paths)}{'' if kind == 'plain' else '.bz2'}"
        if kind == "plain":
            path.write_bytes(part)
        elif kind == "one stream":
            path.write_bytes(bz2.compress(part))
        else:
            half = len(part) // 2
            path.write_bytes(bz2.compress(part[:half]) + bz2.compress(part[half:]))
        paths.append(path)
    return paths


@pytest.mark.parametrize("seed", range(40))
def test_blocks_are_merged_as_lines_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int):
    draw = random.Random(seed)
    monkeypatch.setattr(lines, "_BLOCK", draw.choice([1, 13, 100, 1000, 10_000, 1 << 21]))
    numbers = sorted(draw.sample(range(600), 300))
    metadata = b"\n".join(record(draw, number) for number in numbers) + draw.choice([b"", b"\n", b"\n\n"])
    listed = sorted(draw.sample(range(700), 120))
    subset = b"\n".join(entry(draw, number) for number in listed) + draw.choice([b"", b"\n"])
    (tmp_path / "subset.tsv").write_bytes(subset)
    outputs = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    parts = parts_of(draw, metadata, tmp_path)
    join_yfcc(parts, tmp_path / "subset.tsv", "title_description", "http://bucket.example", *outputs)
    links, outcomes = line_by_line(metadata, subset)
    names = "row", "line", "photo_id", "caption"
    assert [tuple(link[name] for name in names) for link in rows_of(outputs[0])] == links
    assert read_outcomes(outputs[1]) == outcomes
    assert sum(outcomes.values()) == len(subset.removesuffix(b"\n").split(b"\n"))


def links_of_two_photos(tmp_path: Path, *parts: bytes) -> int:
    """How many photos are found in the metadata's parts, of the two that `photo` makes."""
    (tmp_path / "subset").write_bytes(b"".join(b"%d\t%d\t%s\n" % (n, 5 * n, name_of(n)) for n in (3, 4)))
    paths = [tmp_path / f"part{number}" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    outputs = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    return join_yfcc(paths, tmp_path / "subset", "title", "http://bucket.example", *outputs)["kept"]


def photo(number: int) -> bytes:
    return b"\t".join([b"%d\t%d" % (number, 5 * number), name_of(number), *[b"a"] * 21, b"0"])


def test_a_file_cut_at_any_byte_is_the_file(tmp_path: Path):
    whole = photo(3) + b"\r\n" + photo(4) + b"\r\n"
    found = [links_of_two_photos(tmp_path, whole[:cut], whole[cut:]) for cut in range(len(whole))]
    assert found == [2] * len(whole)


def test_parts_without_a_last_line_feed_are_not_glued_together(tmp_path: Path):
    assert links_of_two_photos(tmp_path, photo(3), photo(4)) == 2


@pytest.mark.parametrize("block", [60, 1 << 21])
def test_a_number_that_comes_late_is_named_by_its_line(tmp_path: Path, monkeypatch, block: int):
    monkeypatch.setattr(lines, "_BLOCK", block)
    numbers = [*range(20), 7, *range(20, 30)]
    (tmp_path / "meta").write_bytes(b"no number\n" + b"".join(b"%d\tx\n" % number for number in numbers))
    (tmp_path / "subset").write_bytes(b"0\t0\t%s\n" % name_of(0))
    with pytest.raises(InputError, match=r"meta: line 22: line numbers must ascend"):
        join_yfcc(
            [tmp_path / "meta"],
            tmp_path / "subset",
            "title",
            "http://b.example",
            tmp_path / "l",
            tmp_path / "f",
        )


def test_a_file_without_line_feeds_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(lines, "_LONGEST", 10_000)
    monkeypatch.setattr(lines, "_BLOCK", 1000)
    (tmp_path / "meta").write_bytes(b"x" * 20_000)
    with pytest.raises(InputError, match=r"meta: a line of more than 10,000 bytes; is it text\?"):
        list(lines.lines(tmp_path / "meta"))
