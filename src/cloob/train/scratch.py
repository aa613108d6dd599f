"""A copy of the shards on the node's own disk, where the shared file system is slow."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from tqdm import tqdm

from cloob.errors import InputError
from cloob.files import only_one, read_json, sha256_of, write_json
from cloob.train.distributed import World
from cloob.train.stop import StopRequest

_PREFIX = "cloob-shards-"


@contextmanager
def on_scratch(manifest: Path, scratch: str, world: World, stop: StopRequest) -> Iterator[Path | None]:
    """The manifest of a verified copy of the shards in `scratch`, made once per node and deleted at the end.

    `scratch` may hold environment variables of the node; empty: the shards themselves. None where `stop`
    asks meanwhile. Raises `InputError` where the copy does not fit or is not what the manifest says. The copy
    of a process that was killed is deleted by the next one on that node.
    """
    if not scratch:
        yield manifest
        return
    token = world.agreed(secrets.token_hex(4))  # of this start; another may still hold its copy
    folder = Path(os.path.expandvars(scratch)) / f"{_PREFIX}{token}"
    copies = world.local_rank == 0
    try:
        if copies:
            _forget_the_dead(folder.parent)
            with _told(folder):
                folder.mkdir(parents=True)
        with only_one(folder) if copies else nullcontext():
            if copies:
                with _told(folder):
                    _copy(manifest, folder, stop)
            [asked] = world.total(stop.asked)  # and wait for the copies of all nodes
            yield None if asked else folder / manifest.name
    finally:
        if copies:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the disk refuses, in one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; train.scratch names the node's own disk") from None


def _forget_the_dead(scratch: Path) -> None:
    """Delete the copies that no process holds any more."""
    for folder in scratch.glob(f"{_PREFIX}*"):
        with suppress(InputError, OSError), only_one(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _copy(manifest: Path, folder: Path, stop: StopRequest) -> None:
    """Copy all shards, or until `stop` asks; the manifest is the last."""
    content = read_json(manifest)
    needed = sum(shard["bytes"] for shard in content["shards"])
    if (free := shutil.disk_usage(folder).free) < needed:
        raise InputError(f"{folder}: {needed / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free")
    for shard in tqdm(content["shards"], unit=" shards", desc="to scratch"):
        if stop.asked:
            return
        tar = manifest.parent / shard["name"]
        for file in (tar, tar.with_suffix(".parquet")):
            shutil.copyfile(file, folder / file.name)
        if sha256_of(folder / tar.name) != shard["sha256"]:
            raise InputError(f"{tar}: its copy in {folder} has not the manifest's hash; pack it again")
    write_json(folder / manifest.name, content)
