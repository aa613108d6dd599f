"""YAML files with user-facing errors, also for values that YAML 1.1 reads in an unexpected way."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cloob.common.errors import InputError, raise_if_io_error

_TAG = "tag:yaml.org,2002:"
# YAML 1.1 requires a dot in the mantissa and a sign in the exponent; others are read as text.
_EXPONENT = re.compile(r"[-+]?(\d[\d_]*)?(\.\d*)?[eE][-+]?\d+")


def read_yaml(path: Path, kind: str) -> Any:
    """Read a YAML file. Raises `InputError`, whose message calls the file a `kind`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such {kind}") from None
    except OSError as error:
        raise_if_io_error(error, path)
        raise InputError(f"{path}: {error.strerror}; give the file of a {kind}") from None
    except RecursionError:
        raise InputError(f"{path}: not YAML (nested too deeply)") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2026-02-30, a date that does not exist
        raise InputError(f"{path}: not YAML ({_reason(error)})") from None
    if pitfall := next(find_pitfalls(text), None):
        raise InputError(f"{path}: {pitfall}")
    return content


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split())
    if "'\\t'" in reason:
        reason += "; indent with spaces, not tabs"
    return reason


def find_pitfalls(text: str) -> Iterator[str]:
    """Yield a message for every duplicate key and every value that YAML 1.1 reads in an unexpected way."""
    yield from _pitfalls(yaml.compose(text, Loader=yaml.SafeLoader), "", set())


def _pitfalls(node: yaml.Node | None, prefix: str, seen: set[int]) -> Iterator[str]:
    if node is None or id(node) in seen:  # an alias; its anchor has been checked
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            line = key.start_mark.line + 1
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                yield f"line {line}: key {name} is not read as text; put it in quotes"
            elif key.value in lines and key.tag != f"{_TAG}merge":
                yield f"line {line}: key {name} is given twice, first in line {lines[key.value]}; delete one"
            lines.setdefault(key.value, line)
            yield from _pitfalls(value, f"{name}.", seen)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _pitfalls(value, f"{prefix}{position}.", seen)
    elif isinstance(node, yaml.ScalarNode) and not node.style and (reading := _unexpected_reading(node)):
        yield f"line {node.start_mark.line + 1}: {prefix.rstrip('.')}: {reading}"


def _unexpected_reading(node: yaml.ScalarNode) -> str | None:
    """How YAML reads an unquoted scalar, if not as it looks; None otherwise."""
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
    if isinstance(value, float) and not math.isfinite(value):
        return f"{text} is not a finite number; write one"
    return None


def value_hint(value: Any, expected_types: list[str]) -> str:
    """How to correct a value that has none of the `expected_types` (JSON Schema); "" if unknown."""
    if value is None and {"object", "array"} & set(expected_types):
        return "it is empty: add indented content, or delete the line"
    if value is None and "string" in expected_types:
        return 'it is empty: give a string in quotes, "" for none'
    if isinstance(value, str):
        if {"integer", "number"} & set(expected_types) and (
            number := _number(value, "number" not in expected_types)
        ):
            if _EXPONENT.fullmatch(value):
                return f"YAML 1.1 reads {value} as text; write {number}"
            return f"{value!r} is text; write {number}, without quotes"
        if "boolean" in expected_types and value.lower() in ("true", "false", "yes", "no", "on", "off"):
            return f"{value!r} is text; write {value.lower()}, without quotes"
    elif isinstance(value, bool) and "string" in expected_types:
        return "yes, no, on, off, true and false are truth values in YAML; put the text in quotes"
    elif isinstance(value, float) and "integer" in expected_types and value.is_integer():
        return f"write {value:.0f}"
    elif isinstance(value, bool | int | float) and "string" in expected_types:
        return "put the text in quotes"
    if value is not None and expected_types == ["array"] and not isinstance(value, dict):
        return f"write a list: [{value}]"
    return ""


def _number(text: str, integer_only: bool) -> str:
    """The number in a text, written as YAML 1.1 requires; "" if it is none."""
    try:
        value = float(text)
    except ValueError:
        return ""
    if not math.isfinite(value):
        return ""
    if value.is_integer() and (integer_only or not _EXPONENT.fullmatch(text)):
        return f"{value:.0f}"
    if integer_only:
        return ""
    written = text if _EXPONENT.fullmatch(text) else repr(value)
    mantissa, exponent, power = written.lower().replace("_", "").partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(power):+d}"
