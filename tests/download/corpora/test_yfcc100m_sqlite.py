"""The join of OpenAI's subset with the SQLite dump of YFCC100M's metadata."""

import random
import sqlite3
from collections import Counter
from hashlib import md5
from pathlib import Path

import pytest

from cloob.common.accounting import read_outcomes
from cloob.common.errors import InputError
from cloob.download.corpora import yfcc100m, yfcc100m_sqlite
from cloob.download.corpora.yfcc100m_sqlite import hash_of_url
from tests.download.corpora.test_plain_text import plain_text_step_by_step
from tests.helpers.recording_server import read_rows


def photo_url(photo: int) -> str:
    return f"http://farm3.example/{photo}_o.jpg"


def record(photo: int, title: object = "A+dog", marker: int | None = 0) -> tuple:
    """A row of the dump."""
    columns = [""] * 23
    columns[6], columns[7], columns[14] = title, "on%20grass", photo_url(photo)
    return photo, *columns[1:22], marker


def write_dump(path: Path, records: list[tuple], columns: int = 23) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE photos ({', '.join(f'c{i}' for i in range(columns))})")
        placeholders = ", ".join("?" * columns)
        values = [record[:columns] for record in records]
        connection.executemany(f"INSERT INTO photos VALUES ({placeholders})", values)
    connection.close()
    return path


def join(tmp_path: Path, records: list[tuple], subset: list[str]) -> tuple[list[dict], dict[str, int]]:
    """URL table and row accounting of these rows of the two files."""
    subset_file, urls, outcomes = (tmp_path / name for name in ("subset.tsv", "urls.parquet", "outcomes.csv"))
    subset_file.write_text("".join(f"{row}\n" for row in subset))
    database = write_dump(tmp_path / "yfcc100m.sql", records)
    yfcc100m.read(urls, outcomes, database, subset_file, "title_description", "http://bucket.example")
    return read_rows(urls), read_outcomes(outcomes)


def test_the_hash_is_the_md5_of_the_url_without_leading_zeros() -> None:
    for photo in range(200):
        digest = md5(photo_url(photo).encode()).digest()
        assert hash_of_url(photo_url(photo)) == "".join(hex(byte)[2:] for byte in digest)
    assert any(len(hash_of_url(photo_url(photo))) < 32 for photo in range(200))


def test_photos_are_looked_up_by_id_and_every_row_has_one_outcome(tmp_path: Path) -> None:
    records = [record(30), record(10), record(20, marker=1), record(40, title=""), record(10), record(77)]
    subset = [
        f"3\t10\t{hash_of_url(photo_url(10))}",
        f"4\t20\t{hash_of_url(photo_url(20))}",
        f"5\t30\t{hash_of_url(photo_url(31))}",
        f"6\t40\t{hash_of_url(photo_url(40))}",
        f"7\t50\t{hash_of_url(photo_url(50))}",
        f"8\t10\t{hash_of_url(photo_url(10))}",
        "malformed",
    ]
    rows, outcomes = join(tmp_path, records, subset)
    assert [(row["uid"], row["line"], row["photo_id"], row["caption"]) for row in rows] == [
        ("000000001", "3", "10", "A dog on grass"),
        ("000000004", "6", "40", "on grass"),
    ]
    name = hash_of_url(photo_url(10))
    assert rows[0]["url"] == f"http://bucket.example/{name[:3]}/{name[3:6]}/{name}.jpg"
    assert outcomes == {
        "kept": 2,
        "video": 1,
        "hash_disagrees": 1,
        "not_in_metadata": 1,
        "duplicate_photo": 1,
        "malformed_row": 1,
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_join_in_batches_equals_a_join_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(yfcc100m_sqlite, "_ROWS_PER_BATCH", 3)
    rng = random.Random(seed)
    photos = rng.choices(range(1, 150), k=100)  # some of them twice
    ids = [rng.choice([photo, str(photo), f"{photo} ", f"{photo}x", None]) for photo in photos]
    titles = rng.choices(["A+dog", "two\nlines", b"\xff", None, 2009, "%0A"], k=100)
    records = [
        (stored_id, *record(photo, title, rng.choice([0, 0, 0, 1, None]))[1:])
        for stored_id, photo, title in zip(ids, photos, titles, strict=True)
    ]
    listed = [
        (photo, rng.choice([hash_of_url(photo_url(photo))] * 5 + ["f" * 33])) for photo in range(1, 200, 2)
    ]
    subset = [f"{line}\t{photo}\t{name}" for line, (photo, name) in enumerate(listed)]
    expected, expected_outcomes = [], Counter({"kept": 0, "not_in_metadata": len(listed)})
    missing = {photo: (line, name) for line, (photo, name) in enumerate(listed)}
    for (stored_id, *columns), photo in zip(records, photos, strict=True):
        title, marker = columns[5], columns[21]
        if str(stored_id).strip() != str(photo) or photo not in missing:
            continue
        line, name = missing.pop(photo)
        expected_outcomes["not_in_metadata"] -= 1
        if name != hash_of_url(photo_url(photo)):
            expected_outcomes["hash_disagrees"] += 1
        elif marker == 1:
            expected_outcomes["video"] += 1
        else:
            expected_outcomes["kept"] += 1
            text = title if isinstance(title, bytes) else b"" if title is None else str(title).encode()
            expected.append((line + 1, str(photo), f"{plain_text_step_by_step(text)} on grass".strip()))
    rows, outcomes = join(tmp_path, records, subset)
    assert [(row["row"], row["photo_id"], row["caption"]) for row in rows] == expected
    assert outcomes == +expected_outcomes


def test_the_path_of_the_dump_may_contain_any_characters(tmp_path: Path) -> None:
    folder = tmp_path / "100%20?#a"
    folder.mkdir()
    rows, _ = join(folder, [record(10)], [f"3\t10\t{hash_of_url(photo_url(10))}"])
    assert len(rows) == 1


def join_database(tmp_path: Path, database: Path) -> None:
    """Join a database with a subset of one photo."""
    subset, urls, outcomes = (tmp_path / name for name in ("subset.tsv", "urls.parquet", "outcomes.csv"))
    subset.write_text(f"1\t1\t{hash_of_url(photo_url(1))}\n")
    yfcc100m.read(urls, outcomes, database, subset, "title", "http://bucket.example")


def test_a_database_with_other_tables_is_an_error(tmp_path: Path) -> None:
    database = write_dump(tmp_path / "other.sql", [record(1)], columns=5)
    with pytest.raises(InputError, match=r"no table of 23 columns \(tables: photos\)"):
        join_database(tmp_path, database)
    assert not (tmp_path / "urls.parquet").exists()


def test_a_damaged_database_is_an_error(tmp_path: Path) -> None:
    database = write_dump(tmp_path / "yfcc100m.sql", [record(photo) for photo in range(5000)])
    content = bytearray(database.read_bytes())
    content[8192:100_000] = b"x" * (100_000 - 8192)
    database.write_bytes(content)
    with pytest.raises(InputError, match=r"yfcc100m\.sql: damaged"):
        join_database(tmp_path, database)
