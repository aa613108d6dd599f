"""What a result file or a log is of, by its path: the way to say what is missing in a partial table."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.names import OBJECTIVES

LOG = "metrics.jsonl"
_RUN = (
    r"(?P<corpus>[^/-]+)-(?P<objective>[^/-]+)-(?P<architecture>[^/]+)-(?P<recipe>[^/-]+)-seed(?P<seed>\d+)"
)
_RESULT = re.compile(rf"{_RUN}/epoch_(?P<epoch>\d+)/(?P<protocol>[^/]+)/(?P<dataset>[^/]+)\.json$")
_LOG = re.compile(rf"{_RUN}/metrics\.jsonl$")
TARGET = ["corpus", "architecture", "objective", "recipe", "seed", "epoch", "protocol", "dataset", "path"]


def read_targets(paths: Sequence[Path]) -> pd.DataFrame:
    """Paths of result files and logs -> a row each, with the columns of `TARGET`.

    A log has the protocol `train`, and neither epoch (-1) nor dataset. Raises `InputError` for a path that
    the pipeline would not give.
    """
    rows = []
    for path in paths:
        # Bytes of a file name that are not UTF-8 are escaped: pandas takes all texts with such for the same.
        name = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
        matched = _RESULT.search(name) or _LOG.search(name)
        if matched is None or matched["objective"] not in OBJECTIVES:
            raise InputError(
                f"--results {path}: not of the form RUN/epoch_N/PROTOCOL/DATASET.json or RUN/{LOG}, with a "
                "RUN such as cc3m-cloob-RN50-cc3m-seed1"
            )
        found = {"epoch": -1, "protocol": "train", "dataset": ""} | matched.groupdict() | {"path": path}
        rows.append(found | {"seed": int(found["seed"]), "epoch": int(found["epoch"])})
    return pd.DataFrame(rows, columns=TARGET)


def in_braces(paths: Iterable[Path]) -> list[str]:
    """Paths in the form a shell expands, so that they can be typed: `…-seed{1,2}/…/{gtsrb,ucf101}.json`."""
    # (before the seed, after it up to the name, suffix) -> seed -> names
    families: dict[tuple[str, str, str], dict[int, list[str]]] = {}
    for path in paths:
        before, seed, after = re.fullmatch(r"(.*-seed)(\d+)(/.*)", path.as_posix(), re.DOTALL).groups()
        folder, _, name = after.rpartition("/")
        stem, suffix = Path(name).stem, Path(name).suffix
        families.setdefault((before, folder, suffix), {}).setdefault(int(seed), []).append(stem)
    found = []
    for (before, folder, suffix), by_seed in sorted(families.items()):
        alike: dict[tuple[str, ...], list[str]] = {}
        for seed, names in sorted(by_seed.items()):
            alike.setdefault(tuple(sorted(set(names))), []).append(str(seed))
        found += [
            f"{shlex.quote(before)}{_choice(seeds)}{shlex.quote(f'{folder}/')}{_choice(names)}{suffix}"
            for names, seeds in alike.items()
        ]
    return found


def _choice(names: Sequence[str]) -> str:
    quoted = [shlex.quote(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{{{','.join(quoted)}}}"


def marker(place: int) -> str:
    """The marker of a footnote: a, b, … z, aa, ab, …"""
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
