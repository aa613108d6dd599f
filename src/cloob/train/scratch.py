"""A copy of the shards on the node's own disk, where the shared file system is slow."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from cloob.errors import InputError
from cloob.files import read_json, sha256_of, write_json
from cloob.train.distributed import World


@contextmanager
def on_scratch(manifest: Path, scratch: str, world: World) -> Iterator[Path]:
    """The manifest of a verified copy of the shards in `scratch`, made once per node and deleted at the end.

    `scratch` may hold environment variables of the node; empty: the shards themselves. Raises `InputError`
    where the copy does not fit or is not what the manifest says. A killed process leaves its copy: the best
    scratch is one that the scheduler empties.
    """
    if not scratch:
        yield manifest
        return
    token = world.agreed(secrets.token_hex(4))  # of this start; another may still hold its copy
    folder = Path(os.path.expandvars(scratch)) / f"cloob-shards-{token}"
    try:
        if world.local_rank == 0:
            _copy(manifest, folder)
        world.total()  # wait for the copies of all nodes
        yield folder / manifest.name
    finally:
        if world.local_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)


def _copy(manifest: Path, folder: Path) -> None:
    content = read_json(manifest)
    needed = sum(shard["bytes"] for shard in content["shards"])
    try:
        folder.mkdir(parents=True)
        if (free := shutil.disk_usage(folder).free) < needed:
            raise InputError(f"{folder}: {needed / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free")
        for shard in tqdm(content["shards"], unit=" shards", desc="to scratch"):
            tar = manifest.parent / shard["name"]
            for file in (tar, tar.with_suffix(".parquet")):
                shutil.copyfile(file, folder / file.name)
            if sha256_of(folder / tar.name) != shard["sha256"]:
                raise InputError(f"{tar}: its copy in {folder} has not the manifest's hash; pack it again")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; train.scratch names the node's own disk") from None
    write_json(folder / manifest.name, content)
