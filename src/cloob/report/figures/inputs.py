"""What the figures are made from: result files of the evaluate stage, logs of the train stage."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cloob.errors import InputError
from cloob.files import read_json
from cloob.report.logs import RUN, read_events
from cloob.report.names import ARCHITECTURES, CORPORA, OBJECTIVES, check_objective, in_order, label, ranks
from cloob.report.style import shown

PANEL = ["corpus", "architecture", "recipe"]
_NAME = 24  # characters of a name in a panel's title, at most


def results(paths: Sequence[Path], protocol: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each result file of a protocol: its run's identity with the epoch, its content. Raises `InputError`."""
    if not paths:
        raise InputError("--inputs: no result files are given; evaluate a run first")
    seen: dict[tuple[Any, ...], Path] = {}
    for path in paths:
        content = read_json(path)
        try:
            identity = {key: content["run"][key] for key in RUN} | {"epoch": content["epoch"]}
            found, dataset = content["protocol"], content["dataset"]
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: not a result of `cloob evaluate` ({error!r}); make it again") from None
        check_objective(identity["objective"], path)
        if found != protocol:
            raise InputError(f"{path}: of the protocol {found}, not {protocol}; give files of {protocol}/")
        before = seen.setdefault((*identity.values(), dataset), path)
        if before is not path:
            raise InputError(f"{path}: the same run, epoch and dataset as {before}; give it once")
        yield identity, content


def number(content: dict[str, Any], *keys: str) -> Any:
    """What stands under nested keys of a result file; an `InputError` names the first that is missing."""
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise InputError(
                f"{content.get('dataset', '') if isinstance(content, dict) else ''}: a result file has no "
                f"{'.'.join(keys)}; evaluate the checkpoint again"
            )
        content = content[key]
    return content


def log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run's metrics.jsonl as (the run's identity, all events). Raises `InputError`."""
    events = read_events(path)
    try:
        run = next(each["run"] for each in events if each["event"] == "start")
        check_objective(run["objective"], path)
        identity = {key: run[key] for key in RUN}
    except (KeyError, TypeError, StopIteration) as error:
        raise InputError(f"{path}: not a log of `cloob train run` ({error!r}); train the run again") from None
    if not any(each["event"] == "step" for each in events):
        raise InputError(f"{path}: the log has no training step; train the run again")
    return identity, events


def logs(paths: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any], list[dict[str, Any]]]]:
    """Each log with its run's identity and its events, in the order of the paths' names."""
    if not paths:
        raise InputError("--inputs: no logs are given; train a run first")
    for path in sorted(paths):
        yield path, *log(path)


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
