"""The files that `yfcc15m.py` joins."""

import bz2
import random
import shutil
import sqlite3
from contextlib import closing
from hashlib import md5
from itertools import cycle
from pathlib import Path
from urllib.parse import quote_plus

SHARE = 0.148  # of the metadata that the subset lists
WORDS = ["the", "a", "of", "sunset", "beach", "dog", "family", "trip", "2009", "IMG", "day"]
ODD_WORDS = ["café", "<b>wedding</b>", "&"]
DISTINCT = 50_000  # rows of texts; farther apart than bzip2 looks


def synthesise(folder: Path, rows: int, odd: float, files: set[str]) -> None:
    """meta.tsv, subset.tsv and those of meta.tsv.bz2, meta.sql that are in `files`; some 600 bytes a row."""
    draw = random.Random(0)
    weights = [(1 - odd) / len(WORDS)] * len(WORDS) + [odd / len(ODD_WORDS)] * len(ODD_WORDS)

    def words(least: int, most: int) -> str:
        return quote_plus(" ".join(draw.choices(WORDS + ODD_WORDS, weights, k=draw.randint(least, most))))

    def texts() -> tuple[str, str, str]:
        owner = f"{draw.randrange(10**8)}%40N00"
        first = [owner, words(1, 2), "2009-05-01 12:00:00.0", "1241179200", "Canon+EOS"]
        typed = [words(1, 6), words(0, 60), words(0, 12), ""]
        place = [f"{draw.uniform(-180, 180):.6f}", f"{draw.uniform(-90, 90):.6f}", "16"]
        ends = ["Attribution License", "http://creativecommons.example/licenses/by/2.0/", "2", "3"]
        last = [*ends, "c3b7e6f155", "c3b7e6f155", "jpg", str(int(draw.random() < 0.008))]
        return "\t".join(first + typed + place), owner, "\t".join(last)

    some = cycle([texts() for _ in range(min(rows, DISTINCT))])
    with (folder / "meta.tsv").open("w") as metadata, (folder / "subset.tsv").open("w") as subset:
        for line, (begin, owner, end) in zip(range(rows), some, strict=False):
            photo = 1_000_000 + 7 * line
            page = f"http://www.flickr.example/photos/{owner}/{photo}/"
            link = f"http://farm3.staticflickr.example/2/{photo}_{photo * 2654435761 % 2**40:010x}.jpg"
            name = "".join(f"{byte:x}" for byte in md5(link.encode()).digest())
            print(line, photo, name, begin, page, link, end, sep="\t", file=metadata)
            if draw.random() < SHARE:
                print(line, photo, name, sep="\t", file=subset)
    if "meta.tsv.bz2" in files:
        with (folder / "meta.tsv").open("rb") as plain, bz2.open(folder / "meta.tsv.bz2", "wb") as packed:
            shutil.copyfileobj(plain, packed, 1 << 24)
    if "meta.sql" in files:
        fill_sqlite(folder)


def fill_sqlite(folder: Path) -> None:
    """meta.sql of meta.tsv, with neither line number nor hash."""
    with closing(sqlite3.connect(folder / "meta.sql")) as database, (folder / "meta.tsv").open() as plain:
        columns = ", ".join(f"c{column} TEXT" for column in range(3, 24))
        database.execute(f"CREATE TABLE photos (c1 INTEGER PRIMARY KEY, {columns}, c24 INTEGER)")
        records = (line.rstrip("\n").split("\t") for line in plain)
        marks = ", ".join("?" * 23)
        database.executemany(f"INSERT INTO photos VALUES ({marks})", ([one[1], *one[3:]] for one in records))
        database.commit()
