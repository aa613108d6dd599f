"""The values of a Snakemake profile, read as Snakemake 9.27 and its Slurm plugin 2.8 read them."""

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
    """An expression depends on what is known only when its job is made (`input`, `wildcards`)."""


# What snakemake gives to an expression besides these, `attempt` and `threads`.
_OF_THE_JOB = {"input", "wildcards", "system_tmpdir", "shutil", "async_run", "lookup", "evaluate", "branch"}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (abs, float, int, max, min, round, str)
}


def _power(base: Any, exponent: Any) -> Any:
    if abs(exponent) > 64:  # would take for ever
        raise ValueError("the exponent is beyond 64")
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


def pairs(given: Any, key: str) -> dict[str, str]:
    """A map of a profile, or its `name=value` or a list of such, as {name: the value as on a command line}.

    Raises `ValueError`, which names `key`.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(name): _argument(value) for name, value in given.items()}
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list) and all("=" in str(entry) for entry in given):
        return dict(str(entry).split("=", 1) for entry in given)
    raise ValueError(f"{key}: {given!r:.60} is neither a map nor a list of NAME=VALUE")


def of_rules(given: Any) -> dict[str, dict[str, str]]:
    """`set-resources`, a map of maps or a list of `RULE:NAME=VALUE`. Raises `ValueError`."""
    if isinstance(given, Mapping):
        return {str(rule): pairs(asked, f"set-resources.{rule}") for rule, asked in given.items()}
    found: dict[str, dict[str, str]] = {}
    for entry in given if isinstance(given, list) else [given]:
        matched = re.fullmatch(r"([^:=]+):([^=]+)=(.*)", str(entry), re.DOTALL)
        if matched is None:
            raise ValueError(f"set-resources: {entry!r:.60} is not of the form RULE:NAME=VALUE")
        found.setdefault(matched[1], {})[matched[2]] = matched[3]
    return found


def _argument(value: Any) -> str:
    """A value of YAML as snakemake passes it to its command line: a quoted number stays text."""
    if not isinstance(value, str):
        return f"{value}"
    try:
        float(value)
    except ValueError:
        return value
    return repr(value)


def resources(
    given: Mapping[str, str], where: str, attempt: int, threads: int
) -> dict[str, Value | DependsOnJobError]:
    """The resources of a rule in an attempt: memory and disk as `mem_mb` and `disk_mb`, runtime in minutes.

    One that depends on the job is a `DependsOnJobError`. Raises `ValueError` for what snakemake refuses,
    which names the key below `where`.
    """
    found: dict[str, Value | DependsOnJobError] = {}
    for name, text in given.items():
        size = re.fullmatch(r"(mem|disk)(?:_mi?b)?", name)
        standard = f"{size[1]}_mb" if size else name
        if standard in found:
            raise ValueError(
                f"{where}: {name} beside another of its kind; keep one of mem, mem_mb and mem_mib"
            )
        try:
            found[standard] = _resource(name, text, attempt, threads)
        except DependsOnJobError as unknown:
            found[standard] = unknown
        except ValueError as error:
            raise ValueError(f"{where}.{name}: {error}") from None
    return found


def _resource(name: str, text: str, attempt: int, threads: int) -> Value:
    value = _human_friendly(name, text)
    if isinstance(value, str):
        if re.fullmatch(r"\s*-\d+\s*", value):
            raise ValueError(f"snakemake refuses a number below 0, {value}")
        try:
            value = int(value)
        except ValueError:
            value = evaluated(value, attempt=attempt, threads=threads)
    value = round(value) if isinstance(value, float) else value
    if isinstance(value, str) and name in ("mem", "disk", "runtime"):
        value = _human_friendly(name, value)
        if isinstance(value, str):
            form = (
                "minutes, or a time such as 2h or 1d" if name == "runtime" else "MB, or a size such as 64GB"
            )
            raise ValueError(f"snakemake does not understand {value!r:.60}; write {form}")
    if not isinstance(value, int) and name in ("mem_mb", "mem_mib", "disk_mb", "disk_mib"):
        how = value_hint(value, ["integer"]) or f"write {name.partition('_')[0]} and a size such as 64GB"
        raise ValueError(f"snakemake takes a number here, not {value!r:.60}: {how}")
    if isinstance(value, int) and name.endswith("_mib"):
        value = math.floor(value / 0.95367431640625)
    return value


def _human_friendly(name: str, text: str) -> int | str:
    bare = text.strip("'\"")
    try:
        if name in ("mem", "disk"):
            return int(bare) if bare.isdecimal() else max(math.ceil(parse_size(bare) / 1e6), 1)
        if name == "runtime":
            return int(bare) if bare.isdecimal() else max(int(round(parse_timespan(bare)) / 60), 1)
    except (InvalidSize, InvalidTimespan):
        pass
    return text


def evaluated(text: str, **names: int) -> int | float | str | None:
    """A Python expression as snakemake evaluates it: one with a name that it does not know is text.

    Raises `DependsOnJobError` where the value depends on the job, `ValueError` where it cannot be evaluated.
    """
    text = os.path.expandvars(text)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    if not used - bound <= {*names, *_OF_THE_JOB, *dir(builtins)}:
        return text
    if isinstance(tree, ast.Name) and tree.id not in {*names, *_OF_THE_JOB}:
        raise ValueError(f"{text} is a name of Python; to mean the word, write \"'{text}'\"")
    try:
        return _value(tree, names)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} cannot be evaluated ({error})") from None


def _value(node: ast.expr, names: Mapping[str, int]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, type(None))):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand, names))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        return _OPERATORS[type(node.ops[0])](_value(node.left, names), _value(node.comparators[0], names))
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, names) else node.orelse, names)
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    if called in _FUNCTIONS and not node.keywords:
        return _FUNCTIONS[called](*(_value(each, names) for each in node.args))
    raise DependsOnJobError


def whole(asked: Mapping[str, Value | DependsOnJobError], name: str, default: int = 0, least: int = 0) -> int:
    """A resource that Slurm's plugin wants as a number. Raises `ValueError` for another one."""
    value = asked.get(name)
    if value is None or isinstance(value, DependsOnJobError):
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        how = value_hint(value, ["integer"]) or "write one"
        raise ValueError(f"{name}: {value!r:.60} is not a whole number from {least}: {how}")
    return value


def word(asked: Mapping[str, Value | DependsOnJobError], names: Sequence[str]) -> str | None:
    """The first of some resources that is given, as text."""
    values = (asked.get(name) for name in names)
    return next((str(value) for value in values if value and not isinstance(value, DependsOnJobError)), None)
