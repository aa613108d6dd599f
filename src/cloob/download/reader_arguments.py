"""The options of the URL-list readers as command-line flags."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError
from cloob.download.corpora.registry import READERS, Reader

_BOOLEANS = {"true": True, "false": False}


def add_reader_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--reader` and a flag for every option of every reader."""
    readers = "; ".join(f"{reader.name}: {reader.help}" for reader in READERS.values())
    parser.add_argument("--reader", choices=list(READERS), required=True, help=_escape(readers))
    options = dict.fromkeys(option for reader in READERS.values() for option in reader.options)
    for option in options:
        accepting = [reader for reader in READERS.values() if option in reader.options]
        parser.add_argument(
            _flag(option),
            dest=f"option_{option}",
            nargs="+" if any(reader.takes_list(option) for reader in accepting) else None,
            action="extend" if any(reader.takes_list(option) for reader in accepting) else "append",
            metavar=_metavar(accepting[0].options[option]),
            help=_escape("; ".join(_help(reader, option) for reader in accepting)),
        )


def reader_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of the chosen reader. Raises `InputError` for missing and unusable options."""
    reader = READERS[arguments.reader]
    options = {
        name.removeprefix("option_"): values
        for name, values in vars(arguments).items()
        if name.startswith("option_") and values is not None
    }
    if unsupported := [_flag(option) for option in options if option not in reader.options]:
        raise InputError(f"--reader {reader.name} does not accept {', '.join(unsupported)}")
    if missing := [_flag(option) for option in reader.required if option not in options]:
        raise InputError(f"--reader {reader.name} requires {', '.join(missing)}")
    converted = {option: _convert(reader, option, values) for option, values in options.items()}
    for option, problem in reader.problems(converted):
        raise InputError(f"{_flag(option)}: {problem}")
    return converted


def _convert(reader: Reader, option: str, texts: Sequence[str]) -> Any:
    schema = reader.options[option]
    converted = [_convert_value(option, schema, text) for text in texts]
    if option in reader.inputs:
        converted = [Path(text) for text in converted]
    if reader.takes_list(option):
        return converted
    if len(converted) > 1:
        raise InputError(f"{_flag(option)} takes one value, not {len(converted)}")
    return converted[0]


def _convert_value(option: str, schema: Mapping[str, Any], text: str) -> Any:
    types = schema.get("type", "string")
    if "enum" in schema and text not in schema["enum"]:
        raise InputError(f"{_flag(option)} {text}: not one of {', '.join(schema['enum'])}")
    if types == "boolean":
        if text.lower() not in _BOOLEANS:
            raise InputError(f"{_flag(option)} {text}: not one of {', '.join(_BOOLEANS)}")
        return _BOOLEANS[text.lower()]
    if "integer" in types and text.isdecimal():
        return int(text)
    if not text:
        raise InputError(f"{_flag(option)} is empty")
    return text


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _metavar(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "{" + ",".join(schema["enum"]) + "}"
    return "true|false" if schema.get("type") == "boolean" else "VALUE"


def _help(reader: Reader, option: str) -> str:
    required = ", required" if option in reader.required else ""
    return f"{reader.name}{required}: {reader.options[option]['description']}"


def _escape(text: str) -> str:
    return text.replace("%", "%%")
