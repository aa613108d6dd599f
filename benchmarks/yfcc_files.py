"""Synthetic input files for `yfcc.py`."""

import bz2
import random
import shutil
import sqlite3
from contextlib import closing
from hashlib import md5
from itertools import cycle
from pathlib import Path
from urllib.parse import quote_plus

SUBSET_FRACTION = 0.148  # of the metadata's rows
WORDS = ["the", "a", "of", "sunset", "beach", "dog", "family", "trip", "2009", "IMG", "day"]
WORDS_WITH_MARKUP = ["café", "<b>wedding</b>", "&"]
DISTINCT_TEXTS = 50_000  # repeated after more bytes than bzip2's window


def generate(folder: Path, rows: int, markup: float, files: set[str]) -> None:
    """Write meta.tsv, subset.tsv, and meta.tsv.bz2 and meta.sql if in `files`; about 600 bytes per row."""
    rng = random.Random(0)
    weights = [(1 - markup) / len(WORDS)] * len(WORDS)
    weights += [markup / len(WORDS_WITH_MARKUP)] * len(WORDS_WITH_MARKUP)

    def words(least: int, most: int) -> str:
        return quote_plus(
            " ".join(rng.choices(WORDS + WORDS_WITH_MARKUP, weights, k=rng.randint(least, most)))
        )

    def fields() -> tuple[str, str, str]:
        owner = f"{rng.randrange(10**8)}%40N00"
        first = [owner, words(1, 2), "2009-05-01 12:00:00.0", "1241179200", "Canon+EOS"]
        texts = [words(1, 6), words(0, 60), words(0, 12), ""]
        location = [f"{rng.uniform(-180, 180):.6f}", f"{rng.uniform(-90, 90):.6f}", "16"]
        license_fields = ["Attribution License", "http://creativecommons.example/licenses/by/2.0/", "2", "3"]
        last = [*license_fields, "c3b7e6f155", "c3b7e6f155", "jpg", str(int(rng.random() < 0.008))]
        return "\t".join(first + texts + location), owner, "\t".join(last)

    distinct = cycle([fields() for _ in range(min(rows, DISTINCT_TEXTS))])
    with (folder / "meta.tsv").open("w") as metadata, (folder / "subset.tsv").open("w") as subset:
        for line, (start, owner, end) in zip(range(rows), distinct, strict=False):
            photo = 1_000_000 + 7 * line
            page = f"http://www.flickr.example/photos/{owner}/{photo}/"
            url = f"http://farm3.staticflickr.example/2/{photo}_{photo * 2654435761 % 2**40:010x}.jpg"
            name = "".join(f"{byte:x}" for byte in md5(url.encode()).digest())
            print(line, photo, name, start, page, url, end, sep="\t", file=metadata)
            if rng.random() < SUBSET_FRACTION:
                print(line, photo, name, sep="\t", file=subset)
    if "meta.tsv.bz2" in files:
        with (folder / "meta.tsv").open("rb") as plain, bz2.open(folder / "meta.tsv.bz2", "wb") as compressed:
            shutil.copyfileobj(plain, compressed, 1 << 24)
    if "meta.sql" in files:
        write_sqlite(folder)


def write_sqlite(folder: Path) -> None:
    """Write meta.sql from meta.tsv, without line numbers and hashes."""
    with closing(sqlite3.connect(folder / "meta.sql")) as database, (folder / "meta.tsv").open() as plain:
        columns = ", ".join(f"c{column} TEXT" for column in range(3, 24))
        database.execute(f"CREATE TABLE photos (c1 INTEGER PRIMARY KEY, {columns}, c24 INTEGER)")
        records = (line.rstrip("\n").split("\t") for line in plain)
        placeholders = ", ".join("?" * 23)
        rows = ([record[1], *record[3:]] for record in records)
        database.executemany(f"INSERT INTO photos VALUES ({placeholders})", rows)
        database.commit()
