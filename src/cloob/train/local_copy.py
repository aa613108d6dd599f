"""A copy of the shards on the node's local disk, for slow shared file systems."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from stat import S_ISDIR

from cloob.common.directories import sorted_glob
from cloob.common.errors import InputError, io_errors_at, user_message
from cloob.common.locks import exclusive_dir_lock
from cloob.train.distributed import DistributedContext
from cloob.train.shard_copy import copy_shards
from cloob.train.signals import StopRequest

_PREFIX = "cloob-shards-"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@contextmanager
def stage_shards_locally(
    manifest: Path, node_local_dir: str, context: DistributedContext, stop: StopRequest
) -> Iterator[Path | None]:
    """Yield the manifest of a verified copy of the shards, made once per node and deleted at the end.

    The copy is in `node_local_dir`, which may contain environment variables of the node; if it is empty, the
    original manifest is yielded. Yields None if `stop` is requested during the copy. Raises `InputError` if a
    variable is not set, the copy does not fit, or a checksum differs from the manifest. Stale copies of
    killed processes are deleted. Only the user can read the copy; other users' files in `node_local_dir` are
    not touched.
    """
    if not node_local_dir:
        yield manifest
        return
    parent = resolve_node_local_dir(node_local_dir)
    token = context.broadcast(secrets.token_hex(4))  # distinguishes this start from one still running
    folder = parent / f"{_PREFIX}{token}"
    made = parent / f".{folder.name}"  # until it is locked: another start would delete `folder` as stale
    makes_copy = context.local_rank == 0
    if makes_copy:
        with io_errors_at(parent):
            parent.mkdir(parents=True, exist_ok=True)
            _delete_stale_copies(parent)
            made.mkdir(mode=0o700)
    try:
        with exclusive_dir_lock(made) if makes_copy else nullcontext():
            if makes_copy:
                with io_errors_at(folder):
                    made = made.rename(folder)
                    copy_shards(manifest, folder, stop)
            [stopped] = context.all_reduce_sum(stop.requested)  # also waits for the copies of all nodes
            yield None if stopped else folder / manifest.name
    finally:
        if makes_copy:
            _delete_copy(made)


def resolve_node_local_dir(node_local_dir: str) -> Path:
    """The absolute path of `train.node_local_dir` on this node. Raises `InputError`.

    An unset variable would become a folder of its literal name, and an empty variable the root or the working
    directory: a terabyte would be copied to the wrong place.
    """
    for match in _VARIABLE.finditer(node_local_dir):
        name = match[1] or match[2]
        if not os.environ.get(name):
            state = "empty" if name in os.environ else "not set"
            raise InputError(
                f"train.node_local_dir {node_local_dir}: ${name} is {state} in this job on "
                f"{os.uname().nodename}; set it, or use another folder on the node's local disk, or "
                'none: ""'
            )
    if "$" in _VARIABLE.sub("", node_local_dir):
        raise InputError(
            f"train.node_local_dir {node_local_dir}: only $NAME and ${{NAME}} are expanded; use these forms"
        )
    path = Path(_VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], node_local_dir))
    try:
        path = path.expanduser()
    except RuntimeError:
        raise InputError(
            f"train.node_local_dir {node_local_dir}: there is no user {path.parts[0]} here; use a folder"
        ) from None
    if not path.is_absolute():
        raise InputError(
            f"train.node_local_dir {node_local_dir}: not an absolute path; use a folder on the node's disk"
        )
    return path


def _delete_stale_copies(parent: Path) -> None:
    """Delete this user's copies that no process has locked; never other users' folders or symbolic links."""
    for folder in sorted_glob(parent, f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            if S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                with exclusive_dir_lock(folder):
                    _delete_copy(folder)
        except (InputError, FileNotFoundError):  # in use, or deleted by another process meanwhile
            continue
        except OSError as error:
            print(f"warning: {folder}: not deleted: {user_message(error) or error}", flush=True)


def _delete_copy(folder: Path) -> None:
    """Delete a copy; failures are only warnings, because the run does not depend on it."""

    def warn(function: object, path: str, error: tuple[object, BaseException, object]) -> None:
        if not isinstance(error[1], FileNotFoundError):
            print(f"warning: {path}: not deleted: {user_message(error[1]) or error[1]}", flush=True)

    shutil.rmtree(folder, onerror=warn)
