"""The documentation agrees with the repository: links, commands, configuration keys, messages, colors."""

import colorsys
import contextlib
import importlib
import importlib.util
import io
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from cloob import cli
from cloob.objectives.registry import OBJECTIVES
from tests.helpers.doc_examples import read_blocks
from tests.helpers.repository import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/*.md",
        "src/**/README.md",
        "config/README.md",
        "results/README.md",
        "benchmarks/README.md",
    )
    for path in ROOT.glob(pattern)
)
CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_no_line_is_longer_than_110_columns(page: str) -> None:
    assert not [line for line in read(page).splitlines() if len(line) > 110]


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_files_of_the_repository(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", read(page))
    assert not [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]


def test_readme_links_to_every_page() -> None:
    links = set(re.findall(r"\]\(([^)#]+)\)", read("README.md")))
    assert {page for page in PAGES if page != "README.md"} <= links


def commands(page: str) -> list[str]:
    """Every `cloob STAGE VERB --flags` in the blocks and the code spans of a page, on one line each."""
    text = read(page).replace("\\\n", " ")
    return re.findall(r"(?:^|[`\s])cloob ([a-z][^`#\n]*?)(?= -- |[`#\n])", text)


@cache
def help_of(*words: str) -> str:
    """The help of a stage or verb."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0, f"cloob {' '.join(words)}: no such command"
    return output.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_flags_exist(page: str) -> None:
    for command in commands(page):
        words = re.match(r"[a-z][a-z-]*(?: [a-z][a-z-]*)?", command)[0].split()
        known = help_of(*words)
        for flag in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", command):
            assert flag in known, f"cloob {command}"


# Files that a page creates or that only exist after a run, and placeholders in capital letters.
_NOT_TRACKED = re.compile(
    r"^(results|data|figures|out|packed|src/cloob/report/figures/validation_recall)\b|[A-Z]{2}|\*"
)


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_modules_exist(page: str) -> None:
    created = {block.file for block in read_blocks(ROOT / page)}
    spans = set(re.findall(r"`([^`\s]+)`", read(page))) - created
    paths = [span for span in spans if re.fullmatch(r"[\w.{},*-]+(/[\w.{},*-]*)+", span)]
    paths = [path for path in paths if Path(path).suffix in (".py", ".yaml", ".smk", ".md", ".txt", ".csv")]
    roots = (ROOT, ROOT / "src" / "cloob", (ROOT / page).parent)
    missing = [
        path
        for path in paths
        if not _NOT_TRACKED.search(path) and not any((root / path).exists() for root in roots)
    ]
    for name in (span for span in spans if re.fullmatch(r"cloob(\.\w+)+", span)):
        parent, _, last = name.rpartition(".")
        module = importlib.import_module(parent)
        if not hasattr(module, last) and importlib.util.find_spec(name) is None:
            missing.append(name)
    assert not missing


def has_key(config: object, keys: list[str]) -> bool:
    if not keys:
        return True
    if not isinstance(config, dict):
        return False
    if keys[0] in ("*", "NAME"):
        return any(has_key(value, keys[1:]) for value in config.values())
    return keys[0] in config and has_key(config[keys[0]], keys[1:])


@pytest.mark.parametrize("page", PAGES)
def test_configuration_keys_exist(page: str) -> None:
    spans = re.findall(r"`([a-z_]+(?:\.(?:[a-z0-9_]+|\*|NAME))+)`", read(page))
    keys = [span.split(".") for span in spans if span.split(".")[0] in CONFIG]
    endings = {"md", "csv", "yaml", "json", "html", "png", "py", "smk", "parquet"}
    missing = [key for key in keys if key[-1] not in endings and not has_key(CONFIG, key)]
    assert not missing


def test_messages_that_the_cluster_page_quotes_exist() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    unbroken = re.sub(r'"\s*\n\s*f?"', "", source)
    quoted = re.findall(r'^- \*\*"(.+?)"', read("docs/cluster.md"), flags=re.MULTILINE)
    assert len(quoted) >= 5
    for message in quoted:
        parts = [part.strip() for part in re.split(r"[…()]|\$NAME|\b3\b", message) if len(part.strip()) > 3]
        assert parts and all(part in unbroken for part in parts), message


def color_name(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    hue, lightness, _ = colorsys.rgb_to_hls(red, green, blue)
    family = {200: "blue", 30: "orange"}[min((200, 30), key=lambda degrees: abs(degrees - 360 * hue))]
    light = {"blue": 0.45, "orange": 0.43}[family]
    return f"{'light' if lightness > light else 'dark'} {family}"


def test_readme_names_the_colors_of_the_objectives() -> None:
    assert {name: color_name(objective.color) for name, objective in OBJECTIVES.items()} == {
        "clip": "dark blue",
        "infonce_hopfield": "light blue",
        "infoloob": "light orange",
        "cloob": "dark orange",
    }
    text = " ".join(read("README.md").split())
    for phrase in ("dark blue is CLIP", "light blue InfoNCE", "light orange InfoLOOB", "dark orange CLOOB"):
        assert phrase in text


@pytest.mark.parametrize("page", PAGES)
def test_fences_are_closed_and_python_blocks_are_valid(page: str) -> None:
    for block in read_blocks(ROOT / page):
        if block.language == "python":
            compile(block.code, page, "exec")
        if block.language == "yaml":
            assert isinstance(yaml.safe_load(block.code), dict)
