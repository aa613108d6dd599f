"""Retired words stay retired: one standard word per thing (docs/glossary.md)."""

import re
from pathlib import Path

import pytest

from tests.helpers.repository import ROOT

FOLDERS = ("benchmarks", "config", "docs", "envs", "slurm", "src", "tests", "workflow", ".github")
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".smk", ".rst", ".jinja", ".css", ".cff", ".toml")
# Retired pattern -> the word to use.
RETIRED = {
    r"small world": "toy dataset",
    r"\b[Ff]ates?\b": "outcome",
    r"ready[-_ ]made": "existing webdataset shards",
    r"\b[Ww]hoever\b": "a subject, such as 'any process'",
    r"\bhanded out\b": "published, distributed",
    r"\blets be\b|\bvouch|\bheeded\b": "allows, verifies, respected",
    r"\bgo(es)? on where\b|\bgoes on\b": "resumes",
    r"\bwhat becomes of\b|\bWhat becomes of\b": "outcome",
    r"\breproduced from nothing\b|\bfrom nothing to\b": "from scratch",
    r"\binfoloob_hopfield\b": "cloob",
    r"\binverse_temperature\b|\blearn_temperature\b": "inv_temperature, learnable_temperature",
    r"\bstructure_epochs\b|\breport_epochs\b": "embedding_eval_epochs, eval_epochs",
    r"(?<!adam_)\bbeta[12]:": "adam_beta1, adam_beta2",
    r"\bkappa\b": "inv_temp",
    r"\bon_scratch\b|train\.scratch\b": "node_local_dir",
    r"\bcolours?\b|\bneighbours?\b|\bnormalis|\bcentre\b": "American spelling",
}
ALLOWED = {Path(__file__)}


def text_files() -> list[Path]:
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted({*inside, *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"} - ALLOWED)


@pytest.mark.parametrize("pattern", RETIRED)
def test_retired_words_are_not_used(pattern: str) -> None:
    uses = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not uses, f"use instead: {RETIRED[pattern]}"
