"""The block-wise merge join against a join line by line, on metadata with all kinds of faults."""

import bz2
import random
from collections import Counter
from pathlib import Path

import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora import line_reader, yfcc100m
from tests.download.corpora.test_plain_text import plain_text_step_by_step
from tests.helpers.recording_server import read_rows

TITLES = [b"", b"My+dog", b"%3Cb%3EMy%3C%2Fb%3E+dog", b"a\rb", b"\xff\xfe", b"%0A", b"x" * 700, b"K%C3%A4se"]
BASE_URL = "http://bucket.example"


def photo_hash(number: int) -> bytes:
    return b"%032x" % (number * 7919)


def random_metadata_line(rng: random.Random, number: int) -> bytes:
    """A line of the metadata; every third has a fault."""
    columns = [b"%d" % number, b"%d" % (5 * number), photo_hash(number)] + [b""] * 22
    columns[8], columns[9] = rng.choice(TITLES), rng.choice(TITLES)
    columns[24] = rng.choice([b"0", b"0", b"0", b"1", b""])
    fault = rng.randrange(24)
    if fault == 0:
        columns[rng.randrange(3)] = rng.choice([b"", b"abc", b"-1"])
    elif fault == 1:
        del columns[rng.randrange(1, 25) :]
    elif fault == 2:
        columns.insert(8, b"more")
    elif fault == 3:
        columns = [rng.choice([b"", b"\r", b"1", b"\t", b"\t" * 24, b"no number\t1", b"9" * 30 + b"\t"])]
    elif fault == 4:
        columns[0] = b"000" + columns[0]
    return b"\t".join(columns) + (b"\r" if fault in (5, 6) else b"")


def random_subset_row(rng: random.Random, number: int) -> bytes:
    """A row of the subset; every sixth has a fault."""
    row = b"%d\t%d\t%s" % (number, 5 * number, photo_hash(number))
    fault = rng.randrange(18)
    if fault == 0:
        return rng.choice(
            [b"", b"no row", row[:-1] + b"G", row + b"\tmore", row.replace(b"\t", b" "), b"\t\t"]
        )
    if fault == 1:
        return row.replace(b"\t", b"\t1", 1)
    return row + b"\r" if fault == 2 else row


def join_line_by_line(metadata: bytes, subset: bytes) -> tuple[list[tuple], dict[str, int]]:
    """Reference implementation: row, line, photo id and caption of every URL, and the row accounting."""
    records = {}
    for line in metadata.split(b"\n"):
        number, tab, _ = line.partition(b"\t")
        if tab and number.isdigit() and len(number) <= 18:
            records[int(number)] = line.rstrip(b"\r").split(b"\t")
    rows, outcomes = [], Counter({"kept": 0})
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
        elif caption := f"{plain_text_step_by_step(photo[8])} {plain_text_step_by_step(photo[9])}".strip():
            outcomes["kept"] += 1
            rows.append((row, str(int(fields[0])), fields[1].decode(), caption))
        else:
            outcomes["no_caption"] += 1
    return rows, dict(outcomes)


def write_random_parts(rng: random.Random, content: bytes, folder: Path) -> list[Path]:
    """Split the content at random bytes; some parts are compressed, some of those in two streams."""
    cuts = sorted(rng.randrange(len(content) + 1) for _ in range(rng.randrange(4)))
    paths = []
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        kind, part = rng.choice(["plain", "one stream", "two streams"]), content[start:end]
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
def test_the_join_in_blocks_equals_a_join_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(line_reader, "_BLOCK", rng.choice([1, 13, 100, 1000, 10_000, 1 << 21]))
    numbers = sorted(rng.sample(range(600), 300))
    metadata = b"\n".join(random_metadata_line(rng, number) for number in numbers)
    metadata += rng.choice([b"", b"\n", b"\n\n"])
    listed = sorted(rng.sample(range(700), 120))
    subset = b"\n".join(random_subset_row(rng, number) for number in listed) + rng.choice([b"", b"\n"])
    (tmp_path / "subset.tsv").write_bytes(subset)
    urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    parts = write_random_parts(rng, metadata, tmp_path)
    yfcc100m.read(urls, outcomes, parts, tmp_path / "subset.tsv", "title_description", BASE_URL)
    expected_rows, expected_outcomes = join_line_by_line(metadata, subset)
    columns = "row", "line", "photo_id", "caption"
    assert [tuple(row[column] for column in columns) for row in read_rows(urls)] == expected_rows
    assert read_outcomes(outcomes) == expected_outcomes
    assert sum(expected_outcomes.values()) == len(subset.removesuffix(b"\n").split(b"\n"))


def metadata_line(number: int) -> bytes:
    return b"\t".join([b"%d\t%d" % (number, 5 * number), photo_hash(number), *[b"a"] * 21, b"0"])


def join_two_photos(tmp_path: Path, *parts: bytes) -> int:
    """The number of matched photos, of numbers 3 and 4, in the metadata's parts."""
    subset = b"".join(b"%d\t%d\t%s\n" % (number, 5 * number, photo_hash(number)) for number in (3, 4))
    (tmp_path / "subset").write_bytes(subset)
    paths = [tmp_path / f"part{index}" for index in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    urls, outcomes = tmp_path / "urls.parquet", tmp_path / "outcomes.csv"
    return yfcc100m.read(urls, outcomes, paths, tmp_path / "subset", "title", BASE_URL)["kept"]


def test_metadata_split_at_any_byte_gives_the_same_result(tmp_path: Path) -> None:
    whole = metadata_line(3) + b"\r\n" + metadata_line(4) + b"\r\n"
    kept = [join_two_photos(tmp_path, whole[:cut], whole[cut:]) for cut in range(len(whole))]
    assert kept == [2] * len(whole)


def test_parts_without_a_final_line_ending_are_not_concatenated(tmp_path: Path) -> None:
    assert join_two_photos(tmp_path, metadata_line(3), metadata_line(4)) == 2


@pytest.mark.parametrize("block", [60, 1 << 21])
def test_the_error_names_the_line_whose_number_does_not_ascend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(line_reader, "_BLOCK", block)
    numbers = [*range(20), 7, *range(20, 30)]
    metadata, subset = tmp_path / "meta", tmp_path / "subset"
    metadata.write_bytes(b"no number\n" + b"".join(b"%d\tx\n" % number for number in numbers))
    subset.write_bytes(b"0\t0\t%s\n" % photo_hash(0))
    with pytest.raises(InputError, match=r"meta: line 22: line numbers must ascend"):
        yfcc100m.read(tmp_path / "urls", tmp_path / "outcomes", metadata, subset, "title", BASE_URL)
