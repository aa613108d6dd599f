"""Does a corpus still hold what its manifest says?"""

from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from cloob.errors import InputError
from cloob.files import sha256_of
from cloob.shards.content import ContentHash
from cloob.shards.reader import Shards


def verify(manifest: Path) -> str:
    """Hash every tar, every image and the whole again; return one line to print.

    Raises `InputError` naming the first shard or sample that differs.
    """
    shards, content = Shards(manifest), ContentHash()
    index = 0
    with tqdm(total=len(shards), unit=" samples", desc=str(manifest), mininterval=1) as bar:
        for entry, tar in zip(shards.manifest["shards"], shards.tars, strict=True):
            if sha256_of(tar) != entry["sha256"]:
                raise InputError(f"{tar}: its bytes differ from the manifest's hash; pack the shards again")
            for expected in pq.read_table(tar.with_suffix(".parquet"), columns=["sha256"])[
                "sha256"
            ].to_pylist():
                image, caption, key = shards.sample(index)
                found = sha256(image).hexdigest()
                if found != expected:
                    raise InputError(
                        f"{tar}: sample {key}: not the image of its index; pack the shards again"
                    )
                content.add(key, found, caption)
                index += 1
            bar.update(entry["samples"])
    if content.hexdigest() != shards.manifest["sha256"]:
        raise InputError(f"{manifest}: the samples are not those of its hash; pack the shards again")
    return f"{manifest}: {index:,} samples in {len(shards.tars):,} shards are what was packed"
