"""A copy of the shards on the node's own disk, where the shared file system is slow."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from stat import S_ISDIR

from tqdm import tqdm

from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errors_at, user_message
from cloob.common.hashing import sha256_file
from cloob.common.json_files import read_json, write_json
from cloob.common.locks import exclusive_dir_lock
from cloob.train.distributed import World
from cloob.train.signals import StopRequest

_PREFIX = "cloob-shards-"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@contextmanager
def on_scratch(manifest: Path, scratch: str, world: World, stop: StopRequest) -> Iterator[Path | None]:
    """The manifest of a verified copy of the shards in `scratch`, made once per node and deleted at the end.

    `scratch` may hold environment variables of the node; empty: the shards themselves. None where `stop`
    asks meanwhile. Raises `InputError` where a variable is not set, the copy does not fit, or is not what the
    manifest says. The copy of a process that was killed is deleted by the next one on that node. Nobody else
    may read or change the copy; what others put into `scratch` is left alone.
    """
    if not scratch:
        yield manifest
        return
    parent = scratch_folder(scratch)
    token = world.agreed(secrets.token_hex(4))  # of this start; another may still hold its copy
    folder = parent / f"{_PREFIX}{token}"
    copies = world.local_rank == 0
    if copies:
        with io_errors_at(parent):
            parent.mkdir(parents=True, exist_ok=True)
            _forget_the_dead(parent)
            folder.mkdir(mode=0o700)
    try:
        with exclusive_dir_lock(folder) if copies else nullcontext():
            if copies:
                with io_errors_at(folder):
                    _copy(manifest, folder, stop)
            [asked] = world.total(stop.asked)  # and wait for the copies of all nodes
            yield None if asked else folder / manifest.name
    finally:
        if copies:
            _delete(folder)


def scratch_folder(scratch: str) -> Path:
    """The absolute path that `train.node_local_dir` names on this node. Raises `InputError`.

    A variable that is not set would become a folder of its literal name, one that is empty the root or the
    working directory: a terabyte copied to the wrong place.
    """
    for match in _VARIABLE.finditer(scratch):
        name = match[1] or match[2]
        if not os.environ.get(name):
            state = "empty" if name in os.environ else "not set"
            raise InputError(
                f"train.node_local_dir {scratch}: ${name} is {state} in this job on {os.uname().nodename}; set it, "
                'or name another folder on the node\'s own disk, or none: ""'
            )
    if "$" in _VARIABLE.sub("", scratch):
        raise InputError(
            f"train.node_local_dir {scratch}: only $NAME and ${{NAME}} are replaced; write it as these"
        )
    path = Path(_VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], scratch))
    try:
        path = path.expanduser()
    except RuntimeError:
        raise InputError(
            f"train.node_local_dir {scratch}: {path.parts[0]} is no user here; name a folder"
        ) from None
    if not path.is_absolute():
        raise InputError(
            f"train.node_local_dir {scratch}: not an absolute path; name a folder on the node's disk"
        )
    return path


def _forget_the_dead(scratch: Path) -> None:
    """Delete our copies that no process holds any more; those of others, and links, are not ours to touch."""
    for folder in sorted_glob(scratch, f"{_PREFIX}*"):
        try:
            found = folder.lstat()
            if S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                with exclusive_dir_lock(folder):
                    _delete(folder)
        except (InputError, FileNotFoundError):  # at work, or deleted by another process meanwhile
            continue
        except OSError as error:
            print(f"warning: {folder}: not deleted: {user_message(error) or error}", flush=True)


def _delete(folder: Path) -> None:
    """Delete a copy; what cannot be deleted is named in a warning, the run does not depend on it."""

    def warn(function: object, path: str, reason: tuple[object, BaseException, object]) -> None:
        if not isinstance(reason[1], FileNotFoundError):
            print(f"warning: {path}: not deleted: {user_message(reason[1]) or reason[1]}", flush=True)

    shutil.rmtree(folder, onerror=warn)


def _copy(manifest: Path, folder: Path, stop: StopRequest) -> None:
    """Copy all shards, or until `stop` asks; the manifest is the last."""
    content = read_json(manifest)
    needed = sum(shard["bytes"] for shard in content["shards"])
    if (free := shutil.disk_usage(folder).free) < needed:
        raise InputError(
            f"{folder}: {needed / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free; free space "
            "there, or name another disk (train.node_local_dir)"
        )
    for shard in tqdm(content["shards"], unit=" shards", desc="to scratch"):
        if stop.asked:
            return
        tar = manifest.parent / shard["name"]
        for file in (tar, tar.with_suffix(".parquet")):
            shutil.copyfile(file, folder / file.name)
        if sha256_file(folder / tar.name) != shard["sha256"]:
            raise InputError(f"{tar}: its copy in {folder} has not the manifest's hash; pack it again")
    write_json(folder / manifest.name, content)
