"""Parse the values of a Snakemake profile as Snakemake 9.27 and its Slurm plugin 2.8 do."""

import ast
import builtins
import math
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from humanfriendly import InvalidSize, InvalidTimespan, parse_size, parse_timespan

from cloob.common.yaml_file import value_hint

Value = int | str | None


class DependsOnJobError(Exception):
    """An expression depends on the job (`input`, `wildcards`)."""


# Names that Snakemake defines in expressions, besides builtins, `attempt` and `threads`.
_JOB_NAMES = {"input", "wildcards", "system_tmpdir", "shutil", "async_run", "lookup", "evaluate", "branch"}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (abs, float, int, max, min, round, str)
}


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > 64:  # the result would be huge
        raise ValueError("the exponent is greater than 64")
    return base**exponent


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def parse_assignments(content: Any, key: str) -> dict[str, str]:
    """A map, a `NAME=VALUE` or a list of these as {name: value as on the command line}.

    Raises `ValueError` with `key`.
    """
    if content is None:
        return {}
    if isinstance(content, Mapping):
        return {str(name): _to_argument(value) for name, value in content.items()}
    if isinstance(content, str):
        content = [content]
    if isinstance(content, list) and all("=" in str(entry) for entry in content):
        return dict(str(entry).split("=", 1) for entry in content)
    raise ValueError(f"{key}: {content!r:.60} is neither a map nor a list of NAME=VALUE")


def parse_rule_resources(content: Any) -> dict[str, dict[str, str]]:
    """`set-resources` as {rule: {name: value}}, from a map of maps or a list of `RULE:NAME=VALUE`.

    Raises `ValueError`.
    """
    if isinstance(content, Mapping):
        return {
            str(rule): parse_assignments(resources, f"set-resources.{rule}")
            for rule, resources in content.items()
        }
    by_rule: dict[str, dict[str, str]] = {}
    for entry in content if isinstance(content, list) else [content]:
        matched = re.fullmatch(r"([^:=]+):([^=]+)=(.*)", str(entry), re.DOTALL)
        if matched is None:
            raise ValueError(f"set-resources: {entry!r:.60} does not have the format RULE:NAME=VALUE")
        by_rule.setdefault(matched[1], {})[matched[2]] = matched[3]
    return by_rule


def _to_argument(value: Any) -> str:
    """A YAML value as Snakemake passes it to its command line: a quoted number stays a string."""
    if not isinstance(value, str):
        return f"{value}"
    try:
        float(value)
    except ValueError:
        return value
    return repr(value)


def parse_resources(
    assignments: Mapping[str, str], key: str, attempt: int, threads: int
) -> dict[str, Value | DependsOnJobError]:
    """The resources of a rule in an attempt: memory and disk as `mem_mb` and `disk_mb`, runtime in minutes.

    A value that depends on the job becomes a `DependsOnJobError`. Raises `ValueError` with the full key for
    values that Snakemake rejects.
    """
    resources: dict[str, Value | DependsOnJobError] = {}
    for name, text in assignments.items():
        size = re.fullmatch(r"(mem|disk)(?:_mi?b)?", name)
        standard = f"{size[1]}_mb" if size else name
        if standard in resources:
            raise ValueError(f"{key}: {name} duplicates another key; set only one of mem, mem_mb and mem_mib")
        try:
            resources[standard] = _parse_resource(name, text, attempt, threads)
        except DependsOnJobError as unknown:
            resources[standard] = unknown
        except ValueError as error:
            raise ValueError(f"{key}.{name}: {error}") from None
    return resources


def _parse_resource(name: str, text: str, attempt: int, threads: int) -> Value:
    value: int | float | str | None = _parse_human_friendly(name, text)
    if isinstance(value, str):
        if re.fullmatch(r"\s*-\d+\s*", value):
            raise ValueError(f"Snakemake rejects negative numbers ({value})")
        try:
            value = int(value)
        except ValueError:
            value = evaluate(str(value), attempt=attempt, threads=threads)
    value = round(value) if isinstance(value, float) else value
    if isinstance(value, str) and name in ("mem", "disk", "runtime"):
        value = _parse_human_friendly(name, value)
        if isinstance(value, str):
            form = (
                "minutes, or a time such as 2h or 1d" if name == "runtime" else "MB, or a size such as 64GB"
            )
            raise ValueError(f"Snakemake cannot parse {value!r:.60}; write {form}")
    if not isinstance(value, int) and name in ("mem_mb", "mem_mib", "disk_mb", "disk_mib"):
        hint = value_hint(value, ["integer"]) or f"write {name.partition('_')[0]} and a size such as 64GB"
        raise ValueError(f"Snakemake requires a number, not {value!r:.60}: {hint}")
    if isinstance(value, int) and name.endswith("_mib"):
        value = math.floor(value / 0.95367431640625)
    return value


def _parse_human_friendly(name: str, text: str) -> int | str:
    bare = text.strip("'\"")
    try:
        if name in ("mem", "disk"):
            return int(bare) if bare.isdecimal() else max(math.ceil(parse_size(bare) / 1e6), 1)
        if name == "runtime":
            return int(bare) if bare.isdecimal() else max(int(round(parse_timespan(bare)) / 60), 1)
    except (InvalidSize, InvalidTimespan):
        pass
    return text


def evaluate(text: str, **names: int) -> int | float | str | None:
    """Evaluate a Python expression as Snakemake does; with unknown names it is a string.

    Raises `DependsOnJobError` if the value depends on the job, `ValueError` if it cannot be evaluated.
    """
    text = os.path.expandvars(text)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    if not used - bound <= {*names, *_JOB_NAMES, *dir(builtins)}:
        return text
    if isinstance(tree, ast.Name) and tree.id not in {*names, *_JOB_NAMES}:
        raise ValueError(f"{text} is a Python builtin; to use it as a string, write \"'{text}'\"")
    try:
        return _evaluate_node(tree, names)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} cannot be evaluated ({error})") from None


def _evaluate_node(node: ast.expr, names: Mapping[str, int]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, type(None))):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate_node(node.operand, names))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate_node(node.left, names), _evaluate_node(node.right, names))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        return _OPERATORS[type(node.ops[0])](
            _evaluate_node(node.left, names), _evaluate_node(node.comparators[0], names)
        )
    if isinstance(node, ast.IfExp):
        return _evaluate_node(node.body if _evaluate_node(node.test, names) else node.orelse, names)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _FUNCTIONS
        and not node.keywords
    ):
        return _FUNCTIONS[node.func.id](*(_evaluate_node(argument, names) for argument in node.args))
    raise DependsOnJobError


def get_int(
    resources: Mapping[str, Value | DependsOnJobError], name: str, default: int = 0, minimum: int = 0
) -> int:
    """An integer resource; `default` if it is not set or depends on the job. Raises `ValueError`."""
    value = resources.get(name)
    if value is None or isinstance(value, DependsOnJobError):
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        hint = value_hint(value, ["integer"])
        raise ValueError(
            f"{name}: {value!r:.60} is not an integer >= {minimum}" + (f": {hint}" if hint else "")
        )
    return value


def get_text(resources: Mapping[str, Value | DependsOnJobError], names: Sequence[str]) -> str | None:
    """The first of the named resources that is set, as a string."""
    values = (resources.get(name) for name in names)
    return next((str(value) for value in values if value and not isinstance(value, DependsOnJobError)), None)
