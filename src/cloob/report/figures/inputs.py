"""What the figures are made from: result files of the evaluate stage, logs of the train stage."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.common.errors import InputError
from cloob.report.load.logs import read_events
from cloob.report.load.result_file import RUN, read_result
from cloob.report.names import ARCHITECTURES, CORPORA, OBJECTIVES, in_order, label, ranks
from cloob.report.render.style import shown

PANEL = ["corpus", "architecture", "recipe"]
_NAME = 24  # characters of a name in a panel's title, at most


def results(paths: Sequence[Path], protocol: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each result file of a protocol: its run's identity with the epoch, its content. Raises `InputError`."""
    if not paths:
        raise InputError("--inputs: no result files are given; evaluate a run first")
    seen: dict[tuple[Any, ...], Path] = {}
    for path in paths:
        content = read_result(path, protocol) | {"path": path}
        identity = {key: content["run"][key] for key in RUN} | {"epoch": content["epoch"]}
        before = seen.setdefault((*identity.values(), content["dataset"]), path)
        if before is not path:
            raise InputError(f"{path}: the same run, epoch and dataset as {before}; give it once")
        yield identity, content


def number(content: dict[str, Any], *keys: str) -> Any:
    """What stands under nested keys of a result file; an `InputError` names the first that is missing."""
    found: Any = content
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            raise InputError(f"{content['path']}: it has no {'.'.join(keys)}; evaluate the checkpoint again")
        found = found[key]
    return found


def logs(
    paths: Sequence[Path], **needs: Sequence[str]
) -> Iterator[tuple[Path, dict[str, Any], list[dict[str, Any]]]]:
    """Each log with its run's identity and its events, in the order of the paths' names.

    `needs` as of `read_events`. Raises `InputError`.
    """
    if not paths:
        raise InputError("--inputs: no logs are given; train a run first")
    for path in sorted(paths):
        events = read_events(path, **needs)
        run = next(each["run"] for each in events if each["event"] == "start")
        yield path, {key: run[key] for key in RUN}, events


def panels(data: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A part per corpus, architecture and recipe, in the order of the paper, with its title.

    The recipe is named only where a corpus and architecture has several.
    """
    several = (data.groupby(["corpus", "architecture"]).recipe.nunique() > 1).any()
    corpora, encoders = ranks(data.corpus, CORPORA), ranks(data.architecture, ARCHITECTURES)
    parts = sorted(
        data.groupby(PANEL, sort=True), key=lambda part: (corpora[part[0][0]], encoders[part[0][1]])
    )
    return [
        (" · ".join(shown(name, _NAME) for name in names[: 3 if several else 2]), part)
        for names, part in (
            ((label(corpus, CORPORA), architecture, recipe), part)
            for (corpus, architecture, recipe), part in parts
        )
    ]


def objectives_of(data: pd.DataFrame) -> list[str]:
    """The objectives there are, in the order of the paper."""
    return in_order(data.objective, OBJECTIVES)
