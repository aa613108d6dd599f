"""Result files and logs identified by their paths, so that missing files are identified too."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.objectives.registry import OBJECTIVES

LOG = "metrics.parquet"
_RUN = (
    r"(?P<corpus>[^/-]+)-(?P<objective>[^/-]+)-(?P<architecture>[^/]+)-(?P<recipe>[^/-]+)-seed(?P<seed>\d+)"
)
_RESULT = re.compile(rf"{_RUN}/epoch_(?P<epoch>\d+)/(?P<protocol>[^/]+)/(?P<dataset>[^/]+)\.json$")
_LOG = re.compile(rf"{_RUN}/metrics\.(?:parquet|jsonl)$")
COLUMNS = ["corpus", "architecture", "objective", "recipe", "seed", "epoch", "protocol", "dataset", "path"]


def read_targets(paths: Sequence[Path]) -> pd.DataFrame:
    """Paths of result files and logs -> a row each, with columns `COLUMNS`.

    A log has protocol `train`, epoch -1 and dataset "". Raises `InputError` for any other path.
    """
    rows = []
    for path in paths:
        # Escape bytes that are not UTF-8: pandas treats all strings with lone surrogates as equal.
        name = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
        match = _RESULT.search(name) or _LOG.search(name)
        if match is None or match["objective"] not in OBJECTIVES:
            raise InputError(
                f"--results {path}: not of the form RUN/epoch_N/PROTOCOL/DATASET.json or RUN/{LOG}, with a "
                "RUN such as cc3m-cloob-RN50-cc3m-seed1"
            )
        target: dict[str, Any] = (
            {"epoch": -1, "protocol": "train", "dataset": ""} | match.groupdict() | {"path": path}
        )
        rows.append(target | {"seed": int(target["seed"]), "epoch": int(target["epoch"])})
    return pd.DataFrame(rows, columns=COLUMNS)


def is_run_file(path: Path) -> bool:
    """Whether a path has the form of a result file or log of a run."""
    return bool(_RESULT.search(path.as_posix()) or _LOG.search(path.as_posix()))


def current_logs(paths: Sequence[Path], allow_missing: bool) -> list[Path]:
    """The paths, with the log of a run instead of its compact log if that is older than the log.

    With `allow_missing`, also if the compact log has not been made yet.
    """
    return [path.with_suffix(".jsonl") if _is_outdated(path, allow_missing) else path for path in paths]


def _is_outdated(path: Path, if_missing: bool) -> bool:
    """Whether a path is that of a compact log which is older than its log, or `if_missing`."""
    log = path.with_suffix(".jsonl")
    if path.name != LOG or not log.is_file():
        return False
    return path.stat().st_mtime_ns < log.stat().st_mtime_ns if path.exists() else if_missing


def brace_paths(paths: Iterable[Path]) -> list[str]:
    """Paths abbreviated by shell brace expansion, for copying: `…-seed{1,2}/…/{gtsrb,ucf101}.json`."""
    # (path before the seed, folder after it, suffix) -> seed -> stems
    groups: dict[tuple[str, str, str], dict[int, list[str]]] = {}
    for path in paths:
        match = re.fullmatch(r"(.*-seed)(\d+)(/.*)", path.as_posix(), re.DOTALL)
        assert match is not None, path  # all paths match _RESULT or _LOG
        before, seed, after = match.groups()
        folder, _, name = after.rpartition("/")
        stem, suffix = Path(name).stem, Path(name).suffix
        groups.setdefault((before, folder, suffix), {}).setdefault(int(seed), []).append(stem)
    abbreviated = []
    for (before, folder, suffix), by_seed in sorted(groups.items()):
        seeds_by_stems: dict[tuple[str, ...], list[str]] = {}
        for seed, stems in sorted(by_seed.items()):
            seeds_by_stems.setdefault(tuple(sorted(set(stems))), []).append(str(seed))
        abbreviated += [
            f"{shlex.quote(before)}{_braces(seeds)}{shlex.quote(f'{folder}/')}{_braces(stems)}{suffix}"
            for stems, seeds in seeds_by_stems.items()
        ]
    return abbreviated


def _braces(names: Sequence[str]) -> str:
    quoted = [shlex.quote(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{{{','.join(quoted)}}}"
