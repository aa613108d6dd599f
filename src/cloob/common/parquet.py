"""Reading Parquet files of any length in bounded memory."""

from pathlib import Path

import pyarrow.parquet as pq


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file of which parts are read one after the other.

    By default Arrow keeps every column chunk that it has read, compressed, until the file is closed.
    """
    return pq.ParquetFile(path, pre_buffer=False)
