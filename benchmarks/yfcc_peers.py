"""The join that `yfcc.py` measures, written with pandas and with DuckDB."""

import html
import os
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    import pandas as pd

BASE_URL = "http://bucket.example"


def clean_text(field: str) -> str:
    """The usual way to clean a text."""
    return " ".join(html.unescape(re.sub(r"</?[A-Za-z][^<>]*>", " ", unquote_plus(field))).split())


def write_with_pandas(folder: Path, chunks: "Iterable[pd.DataFrame]") -> int:
    """Write captions and URLs of chunks of joined rows (columns numbered as in the text form)."""
    import pandas as pd

    kept = 0
    for number, chunk in enumerate(chunks):
        photos = chunk[chunk[24] != "1"]
        captions = [
            f"{clean_text(title)} {clean_text(description)}".strip()
            for title, description in zip(photos[8], photos[9], strict=True)
        ]
        urls = [f"{BASE_URL}/{name[:3]}/{name[3:6]}/{name}.jpg" for name in photos["hash"]]
        table = pd.DataFrame({"url": urls, "caption": captions, "photo_id": photos["id"].to_numpy()})
        table = table[table.caption != ""]
        table.to_parquet(folder / f"pandas_{number}.parquet")
        kept += len(table)
    return kept


def read_subset_with_pandas(folder: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(folder / "subset.tsv", sep="\t", names=["line", "id", "hash"], dtype=str)


def join_with_pandas(folder: Path, metadata: str) -> int:
    """Join chunks of the text form; return the number of URLs."""
    import pandas as pd

    subset = read_subset_with_pandas(folder)
    chunks = pd.read_csv(
        folder / metadata,
        sep="\t",
        header=None,
        dtype=str,
        quoting=3,
        usecols=[0, 1, 2, 8, 9, 24],
        names=range(25),
        chunksize=200_000,
        keep_default_na=False,
    )
    joined = (chunk.merge(subset, left_on=[0, 1, 2], right_on=["line", "id", "hash"]) for chunk in chunks)
    return write_with_pandas(folder, joined)


def join_sqlite_with_pandas(folder: Path, metadata: str) -> int:
    """Join chunks of the dump by photo id and the hash of the URL; return the number of URLs."""
    import pandas as pd

    def hash_of(url: str) -> str:
        return "".join(f"{byte:x}" for byte in md5(url.encode()).digest())

    subset = read_subset_with_pandas(folder).astype({"id": int})
    with closing(sqlite3.connect(folder / metadata)) as database:
        names = {"c1": 1, "c8": 8, "c9": 9, "c16": 16, "c24": 24}
        chunks = pd.read_sql_query(f"SELECT {', '.join(names)} FROM photos", database, chunksize=200_000)
        joined = (
            chunk.rename(columns=names).merge(subset, left_on=1, right_on="id").astype({24: str})
            for chunk in chunks
        )
        return write_with_pandas(folder, (rows[rows[16].map(hash_of) == rows["hash"]] for rows in joined))


DUCKDB_JOIN = """
    WITH subset AS (
        SELECT row_number() OVER () AS "row", line, id, hash
        FROM read_csv(
            '{folder}/subset.tsv', {options},
            columns = {{line: 'BIGINT', id: 'VARCHAR', hash: 'VARCHAR'}}
        )
    ), metadata AS (
        SELECT TRY_CAST(c0 AS BIGINT) AS line, c1, c2, c8, c9, c24
        FROM read_csv('{folder}/{metadata}', {options}, null_padding = true, columns = {columns})
    )
    SELECT subset.*, coalesce(c8, '') AS title, coalesce(c9, '') AS description,
        CASE
            WHEN metadata.line IS NULL THEN 'not_in_metadata'
            WHEN c24 IS NULL THEN 'malformed_metadata'
            WHEN c1 <> id THEN 'photo_id_disagrees'
            WHEN c2 <> hash THEN 'hash_disagrees'
            WHEN c24 = '1' THEN 'video'
            ELSE 'kept'
        END AS outcome
    FROM subset LEFT JOIN metadata USING (line) ORDER BY "row"
"""


def join_with_duckdb(folder: Path, metadata: str) -> int:
    """Join with DuckDB, cleaning the texts of kept rows as the package does; return the number of URLs."""
    import duckdb
    import pyarrow.compute as pc

    from cloob.download.corpora.plain_text import plain_texts
    from cloob.download.corpora.url_table import open_url_table

    options = "delim = '\t', header = false, quote = '', escape = '', comment = '', auto_detect = false"
    columns = "{" + ", ".join(f"c{number}: 'VARCHAR'" for number in range(25)) + "}"
    query = DUCKDB_JOIN.format(folder=folder, metadata=metadata, options=options, columns=columns)
    settings = {
        "memory_limit": "2GB",
        "threads": len(os.sched_getaffinity(0)),
        "temp_directory": str(folder / "duckdb"),
    }
    kept = 0
    with (
        duckdb.connect(":memory:", config=settings) as connection,
        open_url_table(folder / "duckdb.parquet", extra=("line", "photo_id")) as table,
    ):
        for batch in connection.sql(query).to_arrow_reader(20_000):
            rows = batch.filter(pc.equal(batch["outcome"], "kept")).to_pydict()
            fields = [
                field.encode()
                for pair in zip(rows["title"], rows["description"], strict=True)
                for field in pair
            ]
            texts = plain_texts(fields)
            captions = [
                f"{title} {description}".strip()
                for title, description in zip(texts[::2], texts[1::2], strict=True)
            ]
            with_caption = [index for index, caption in enumerate(captions) if caption]
            hashes = [rows["hash"][index] for index in with_caption]
            table.extend(
                [rows["row"][index] for index in with_caption],
                [f"{BASE_URL}/{name[:3]}/{name[3:6]}/{name}.jpg" for name in hashes],
                [captions[index] for index in with_caption],
                line=[str(rows["line"][index]) for index in with_caption],
                photo_id=[rows["id"][index] for index in with_caption],
            )
            kept += len(with_caption)
    return kept
