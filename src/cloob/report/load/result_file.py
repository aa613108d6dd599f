"""A result file of the evaluate stage, read with the types that the report needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.report.load.form import ANYTHING, MAYBE, NUMBER, read_file, wrong
from cloob.report.names import check_objective

RUN = ["corpus", "architecture", "objective", "recipe", "seed"]
_RUN = {"?name": (str,), "?seed": (int,), "*": (str,)}
_METRICS = {"*": MAYBE}
_FORM = {
    "epoch": (int,),
    "dataset": (str,),
    "?protocol": (str,),
    "?images": (int,),
    "?chance": MAYBE,
    "?metrics": _METRICS,
    "?intervals": {"*": [NUMBER]},
    "?probes": [{"features": (str,), "metrics": _METRICS, "?converged": (bool,), "*": ANYTHING}],
    "?spectrum": {"*": [NUMBER]},
    "?similarities": {"*": [NUMBER]},
    "?inv_temperature": MAYBE,
    "?hopfield_beta": MAYBE,
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
    path: Path, protocol: str = "", run: Sequence[str] = RUN, needs: Sequence[str] = ("metrics",)
) -> dict[str, Any]:
    """The content of a result file, of `protocol` if one is given. Raises `InputError`.

    `run` are the keys that its run has at least, `needs` those of the file.
    """
    what = f"not a result of `cloob evaluate`{f', {protocol}' if protocol else ''}"
    remedy = "delete it and evaluate the run again"
    result = read_file(path, "no such result; evaluate the run", remedy)
    found = wrong(result, {"run": {"*": ANYTHING}, "*": ANYTHING})
    if found is None and isinstance(objective := result["run"].get("objective"), str):
        check_objective(objective, path)
    if found is None and protocol and result.get("protocol") != protocol:
        found = f"of the protocol {result.get('protocol')}, not {protocol}"
    if found is None:
        needed = {key: _FORM.get(f"?{key}", ANYTHING) for key in needs}
        of_run = {key: _RUN.get(f"?{key}", (str,)) for key in run}
        found = wrong(result, _FORM | needed | {"run": _RUN | of_run})
    if found is not None:
        raise InputError(f"{path}: {what}: {found}; {remedy}")
    return result
