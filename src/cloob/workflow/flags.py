"""Values of the config as command-line flags of `cloob`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any


def flags(options: Mapping[str, Any]) -> list[str]:
    """{"learning_rate": 0.1, "names": ["a", "b"]} -> ["--learning-rate=0.1", "--names=a", "--names=b"].

    The arguments are unquoted: a shell command quotes each with `{params.flags:q}`. Options that are None are
    left out. A rule passes the result through a function, because Snakemake expands wildcards in plain
    parameters.
    """
    arguments = []
    for key, value in options.items():
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        arguments += [f"--{key.replace('_', '-')}={item}" for item in values if item is not None]
    return arguments


def named_paths(paths: Mapping[str, str]) -> list[str]:
    """{name: path} -> ["name=path", ...]."""
    return [f"{name}={path}" for name, path in paths.items()]


def escape_for_report(text: str) -> str:
    r"""Escape text that becomes a rule parameter: backslashes, `<` and control characters as JSON's \uXXXX.

    Snakemake's report writes parameters into a <script> element, which "</script>" would close, and a control
    character would end the shell command. `cloob report --title-suffix` reverses the escapes.
    """
    return re.sub(r"[\\<\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", text)
