"""Result files of the evaluate stage, with checked types."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.report.load.json_checks import ANYTHING, NUMBER, OPTIONAL_NUMBER, read_json, type_error
from cloob.report.names import check_objective

_LOCATION = re.compile(r"([^/]+-seed\d+)/epoch_(\d+)/[^/]+/[^/]+\.json$")
RUN_KEYS = ["corpus", "architecture", "objective", "recipe", "seed"]
_RUN = {"?name": (str,), "?seed": (int,), "*": (str,)}
_METRICS = {"*": OPTIONAL_NUMBER}
_SCHEMA = {
    "epoch": (int,),
    "dataset": (str,),
    "?protocol": (str,),
    "?images": (int,),
    "?texts": (int,),
    "?title": (str,),
    "?dataset_sha256": (str,),
    "?correct_images": (str,),
    "?chance": OPTIONAL_NUMBER,
    "?metrics": _METRICS,
    "?intervals": {"*": [NUMBER]},
    "?probes": [
        {
            "features": (str,),
            "metrics": _METRICS,
            "?intervals": {"*": [NUMBER]},
            "?converged": (bool,),
            "*": ANYTHING,
        }
    ],
    "?spectrum": {"*": [NUMBER]},
    "?similarities": {"*": [NUMBER]},
    "?inv_temperature": OPTIONAL_NUMBER,
    "?hopfield_beta": OPTIONAL_NUMBER,
    "?samples": [
        {
            "class": (str,),
            "image_jpeg": (str,),
            "top": [{"class": (str,), "probability": NUMBER, "*": ANYTHING}],
            "*": ANYTHING,
        }
    ],
    "*": ANYTHING,
}


def read_result(
    path: Path,
    protocol: str = "",
    run_keys: Sequence[str] = RUN_KEYS,
    keys: Sequence[str] = ("metrics",),
    needs_epoch: bool = True,
) -> dict[str, Any]:
    """The content of a result file, of `protocol` if given. Raises `InputError`.

    The file must have `keys`, and its run `run_keys`. Without `needs_epoch`, its epoch may be null, as for
    the models of open_clip.
    """
    description = f"not a result of `cloob evaluate`{f', {protocol}' if protocol else ''}"
    remedy = "delete it and evaluate the run again"
    result = read_json(path, "no such result; evaluate the run", remedy)
    problem = type_error(result, {"run": {"*": ANYTHING}, "*": ANYTHING})
    if problem is None and isinstance(objective := result["run"].get("objective"), str):
        check_objective(objective, path)
    if problem is None and protocol and result.get("protocol") != protocol:
        problem = f"protocol is {result.get('protocol')}, not {protocol}"
    if problem is None:
        required: dict[str, Any] = {key: _SCHEMA.get(f"?{key}", ANYTHING) for key in keys}
        if not needs_epoch:
            required["epoch"] = (int, type(None))
        run_required = {key: _RUN.get(f"?{key}", (str,)) for key in run_keys}
        problem = type_error(result, _SCHEMA | required | {"run": _RUN | run_required})
    if problem is not None:
        raise InputError(f"{path}: {description}: {problem}; {remedy}")
    if needs_epoch:
        _check_location(path, result)
    return result


def _check_location(path: Path, result: dict[str, Any]) -> None:
    """Raise `InputError` for a result in the folder of another run or epoch, which it would replace."""
    if location := _LOCATION.search(path.as_posix()):
        run, epoch = result["run"].get("name", location[1]), result["epoch"]
        if (run, epoch) != (location[1], int(location[2])):
            raise InputError(
                f"{path}: of {run} at epoch {epoch}; delete it, and evaluate the checkpoint that its folder "
                "names (was a checkpoint or folder renamed?)"
            )


def distinct_results(
    paths: Sequence[Path], protocol: str, keys: Sequence[str] = ("metrics",)
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(identity, content) of each file: the values of `RUN_KEYS` and the epoch; the result with its `path`.

    Raises `InputError`, also if two files have the same run, epoch and dataset.
    """
    if not paths:
        raise InputError("--results: no result files given; evaluate a run first")
    seen: dict[tuple[Any, ...], Path] = {}
    for path in paths:
        content = read_result(path, protocol, keys=keys) | {"path": path}
        identity = {key: content["run"][key] for key in RUN_KEYS} | {"epoch": content["epoch"]}
        first = seen.setdefault((*identity.values(), content["dataset"]), path)
        if first is not path:
            raise InputError(f"{path}: same run, epoch and dataset as {first}; give it once")
        yield identity, content


def image_interval(content: dict[str, Any], metric: str, path: Path) -> tuple[float | None, float | None]:
    """The 95% interval of a metric over test images, None if there is none. Raises `InputError`."""
    bounds = content.get("intervals", {}).get(metric) or (None, None)
    if len(bounds) != 2:
        raise InputError(f"{path}: intervals.{metric} is not [low, high]; evaluate the checkpoint again")
    return bounds[0], bounds[1]


def nested(content: dict[str, Any], *keys: str) -> Any:
    """The value under nested keys of a result. Raises `InputError` naming the file if one is missing."""
    value: Any = content
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            missing = ".".join(keys)
            raise InputError(f"{content['path']}: key {missing} is missing; evaluate the checkpoint again")
        value = value[key]
    return value
