"""The SQLite dump of YFCC100M's metadata joined with OpenAI's subset."""

import random
import sqlite3
from collections import Counter
from hashlib import md5
from pathlib import Path

import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora import yfcc100m_sqlite as yfcc15m_sqlite
from cloob.download.corpora.yfcc100m import read as read_yfcc100m
from cloob.download.corpora.yfcc100m_sqlite import hash_of_url
from tests.download.corpora.test_plain_text import step_by_step
from tests.helpers.served_parts import rows_of


def link(photo: int) -> str:
    return f"http://farm3.example/{photo}_o.jpg"


def record(photo: int, title: object = "A+dog", marker: int | None = 0) -> tuple:
    columns = [""] * 23
    columns[6], columns[7], columns[14] = title, "on%20grass", link(photo)
    return photo, *columns[1:22], marker


def dump(path: Path, records: list[tuple], columns: int = 23) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE photos ({', '.join(f'c{i}' for i in range(columns))})")
        marks = ", ".join("?" * columns)
        connection.executemany(f"INSERT INTO photos VALUES ({marks})", [one[:columns] for one in records])
    connection.close()
    return path


def join(tmp_path: Path, records: list[tuple], subset: list[str]) -> tuple[list[dict], dict[str, int]]:
    listed, links, outcomes = (tmp_path / name for name in ("subset.tsv", "urls.parquet", "outcomes.csv"))
    listed.write_text("".join(f"{row}\n" for row in subset))
    database = dump(tmp_path / "yfcc15m.sql", records)
    join_yfcc([database], listed, "title_description", "http://bucket.example", links, outcomes)
    return rows_of(links), read_outcomes(outcomes)


def test_the_hash_is_the_md5_of_the_link_without_leading_zeros():
    for photo in range(200):
        digest = md5(link(photo).encode()).digest()
        assert hash_of_url(link(photo)) == "".join(hex(byte)[2:] for byte in digest)
    assert any(len(hash_of_url(link(photo))) < 32 for photo in range(200))


def test_photos_are_found_by_id_and_every_row_has_one_outcome(tmp_path: Path):
    records = [record(30), record(10), record(20, marker=1), record(40, title=""), record(10), record(77)]
    subset = [
        f"3\t10\t{hash_of_url(link(10))}",
        f"4\t20\t{hash_of_url(link(20))}",
        f"5\t30\t{hash_of_url(link(31))}",
        f"6\t40\t{hash_of_url(link(40))}",
        f"7\t50\t{hash_of_url(link(50))}",
        f"8\t10\t{hash_of_url(link(10))}",
        "no row",
    ]
    links, outcomes = join(tmp_path, records, subset)
    assert [(one["uid"], one["line"], one["photo_id"], one["caption"]) for one in links] == [
        ("000000001", "3", "10", "A dog on grass"),
        ("000000004", "6", "40", "on grass"),
    ]
    name = hash_of_url(link(10))
    assert links[0]["url"] == f"http://bucket.example/{name[:3]}/{name[3:6]}/{name}.jpg"
    assert outcomes == {
        "kept": 2,
        "video": 1,
        "hash_disagrees": 1,
        "not_in_metadata": 1,
        "duplicate_photo": 1,
        "malformed_row": 1,
    }


@pytest.mark.parametrize("seed", range(5))
def test_some_rows_at_once_are_joined_as_one_by_one(tmp_path: Path, monkeypatch, seed: int):
    monkeypatch.setattr(yfcc15m_sqlite, "_ROWS_AT_ONCE", 3)
    draw = random.Random(seed)
    photos = draw.choices(range(1, 150), k=100)  # some of them twice
    ids = [draw.choice([photo, str(photo), f"{photo} ", f"{photo}x", None]) for photo in photos]
    titles = draw.choices(["A+dog", "two\nlines", b"\xff", None, 2009, "%0A"], k=100)
    rows = [
        (written, *record(photo, title, draw.choice([0, 0, 0, 1, None]))[1:])
        for written, photo, title in zip(ids, photos, titles, strict=True)
    ]
    listed = [
        (photo, draw.choice([hash_of_url(link(photo))] * 5 + ["f" * 33])) for photo in range(1, 200, 2)
    ]
    subset = [f"{row}\t{photo}\t{name}" for row, (photo, name) in enumerate(listed)]
    expected, outcomes = [], Counter({"kept": 0, "not_in_metadata": len(listed)})
    wanted = {photo: (row, name) for row, (photo, name) in enumerate(listed)}
    for (written, *columns), photo in zip(rows, photos, strict=True):
        title, marker = columns[5], columns[21]
        if str(written).strip() != str(photo) or photo not in wanted:
            continue
        row, name = wanted.pop(photo)
        outcomes["not_in_metadata"] -= 1
        if name != hash_of_url(link(photo)):
            outcomes["hash_disagrees"] += 1
        elif marker == 1:
            outcomes["video"] += 1
        else:
            outcomes["kept"] += 1
            text = title if isinstance(title, bytes) else b"" if title is None else str(title).encode()
            expected.append((row + 1, str(photo), f"{step_by_step(text)} on grass".strip()))
    links, found = join(tmp_path, rows, subset)
    assert [(one["row"], one["photo_id"], one["caption"]) for one in links] == expected
    assert found == +outcomes


def test_the_dump_may_lie_at_any_path(tmp_path: Path):
    odd = tmp_path / "100%20?#a"
    odd.mkdir()
    links, _ = join(odd, [record(10)], [f"3\t10\t{hash_of_url(link(10))}"])
    assert len(links) == 1


def test_a_database_of_something_else_is_refused(tmp_path: Path):
    database = dump(tmp_path / "other.sql", [record(1)], columns=5)
    subset = tmp_path / "subset.tsv"
    subset.write_text(f"1\t1\t{hash_of_url(link(1))}\n")
    with pytest.raises(InputError, match=r"no table of 23 columns \(tables: photos\)"):
        join_yfcc([database], subset, "title", "http://b.example", tmp_path / "l.parquet", tmp_path / "f.csv")
    assert not (tmp_path / "l.parquet").exists()


def test_a_damaged_database_is_refused(tmp_path: Path):
    database = dump(tmp_path / "yfcc15m.sql", [record(photo) for photo in range(5000)])
    content = bytearray(database.read_bytes())
    content[8192:100_000] = b"x" * (100_000 - 8192)
    database.write_bytes(content)
    subset = tmp_path / "subset.tsv"
    subset.write_text(f"1\t1\t{hash_of_url(link(1))}\n")
    with pytest.raises(InputError, match=r"yfcc\.sql: damaged"):
        join_yfcc([database], subset, "title", "http://b.example", tmp_path / "l.parquet", tmp_path / "f.csv")
