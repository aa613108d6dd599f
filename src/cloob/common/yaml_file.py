"""YAML files that people write: one line for each error, and for each value that YAML 1.1 misreads."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cloob.common.errors import InputError, raise_if_io_error

_TAG = "tag:yaml.org,2002:"
# YAML 1.1 wants a dot in the mantissa and a sign in the exponent.
_EXPONENT = re.compile(r"[-+]?(\d[\d_]*)?(\.\d*)?[eE][-+]?\d+")


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file. Raises `InputError`; `what` says there what the file should be."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}") from None
    except OSError as error:
        raise_if_io_error(error, path)
        raise InputError(f"{path}: {error.strerror}; give the file of a {what}") from None
    except RecursionError:
        raise InputError(f"{path}: not YAML (nested too deeply)") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2026-02-30, a date that does not exist
        raise InputError(f"{path}: not YAML ({_reason(error)})") from None
    found = list(find_pitfalls(text))
    if found:
        raise InputError(f"{path}: {found[0]}")
    return content


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split())
    if "'\\t'" in reason:
        reason += "; indent by spaces, not by tabs"
    return reason


def find_pitfalls(text: str) -> Iterator[str]:
    """A line for each duplicate key and for each value that YAML 1.1 reads as something unexpected."""
    yield from _pitfalls(yaml.compose(text, Loader=yaml.SafeLoader), "", set())


def _pitfalls(node: yaml.Node | None, inside: str, seen: set[int]) -> Iterator[str]:
    if node is None or id(node) in seen:  # an alias is looked at where its anchor is
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = f"{inside}{key.value}"
            line = key.start_mark.line + 1
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                yield f"line {line}: key {name} is not read as text; put it in quotes"
            elif key.value in lines and key.tag != f"{_TAG}merge":
                yield f"line {line}: key {name} is given twice, first in line {lines[key.value]}; delete one"
            lines.setdefault(key.value, line)
            yield from _pitfalls(value, f"{name}.", seen)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _pitfalls(value, f"{inside}{position}.", seen)
    elif isinstance(node, yaml.ScalarNode) and not node.style:
        reading = _reading(node)
        if reading:
            yield f"line {node.start_mark.line + 1}: {inside.rstrip('.')}: {reading}"


def _reading(node: yaml.ScalarNode) -> str | None:
    """What a scalar without quotes is read as, where that is not what it looks like."""
    text, kind = node.value, node.tag.removeprefix(_TAG)
    if kind == "timestamp":
        return f"YAML reads {text} as a date; put it in quotes"
    if kind not in ("int", "float"):
        return None
    value = yaml.safe_load(text)
    if ":" in text:
        return f"YAML reads {text} as {value} (base 60); write the number, or put the text in quotes"
    if kind == "int" and re.match(r"[-+]?0[0-7_]", text):
        return f"YAML reads {text} as {value} (base 8); write no leading zero, or put the text in quotes"
    if not math.isfinite(value):
        return f"{text} is not a finite number; write one"
    return None


def value_hint(value: Any, wanted: list[str]) -> str:
    """How to write a value that is of none of the `wanted` JSON Schema types, or ""."""
    if value is None and {"object", "array"} & set(wanted):
        return "it is empty: give its content, indented, or delete the line"
    if value is None and "string" in wanted:
        return 'it is empty: give a text in quotes, "" for none'
    if isinstance(value, str):
        if {"integer", "number"} & set(wanted) and (number := _number(value, "number" not in wanted)):
            if _EXPONENT.fullmatch(value):
                return f"YAML 1.1 reads {value} as text; write {number}"
            return f"{value!r} is text; write {number}, without quotes"
        if "boolean" in wanted and value.lower() in ("true", "false", "yes", "no", "on", "off"):
            return f"{value!r} is text; write {value.lower()}, without quotes"
    elif isinstance(value, bool) and "string" in wanted:
        return "yes, no, on, off, true and false are truth values in YAML; put the text in quotes"
    elif isinstance(value, float) and "integer" in wanted and value.is_integer():
        return f"write {value:.0f}"
    elif isinstance(value, bool | int | float) and "string" in wanted:
        return "put the text in quotes"
    if value is not None and wanted == ["array"] and not isinstance(value, dict):
        return f"write a list: [{value}]"
    return ""


def _number(text: str, whole: bool) -> str:
    """The number that a text looks like, as YAML 1.1 reads it, or ""."""
    try:
        value = float(text)
    except ValueError:
        return ""
    if not math.isfinite(value):
        return ""
    if value.is_integer() and (whole or not _EXPONENT.fullmatch(text)):
        return f"{value:.0f}"
    if whole:
        return ""
    written = text if _EXPONENT.fullmatch(text) else repr(value)
    mantissa, exponent, power = written.lower().replace("_", "").partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(power):+d}"
