"""The three forms of a table: every character printed as it is meant, in Markdown and in LaTeX."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from cloob.report.render.table import (
    Cell,
    Document,
    Section,
    as_markdown,
    as_tex,
    escaped,
    number,
    probability,
    spread,
    write_document,
)

DOCUMENT = Document(
    "Accuracy (%)",
    [
        Section(
            "A & B, RN_small",
            "lrr",
            ["Test set", "CLIP", "p < 0.05"],
            [["Cars", Cell("1.23 ± 0.10", bold=True), "−0.5"], ["Mean", Cell("—", note="a"), "[1, 2]"]],
            notes={"a": "no `cc3m_1/{x,y}.json`"},
            summary_rows=1,
        ),
        Section("", "l", ["Only"], [["100 %"]]),
    ],
    ["Bold: p ≤ 0.05."],
)
MARKDOWN = """\
# Accuracy (%) · small world

## A & B, RN_small

| Test set | CLIP | p < 0.05 |
| --- | ---: | ---: |
| Cars | **1.23 ± 0.10** | −0.5 |
| Mean | — [a] | [1, 2] |

- [a] no `cc3m_1/{x,y}.json`

| Only |
| --- |
| 100 % |

Bold: p ≤ 0.05.
"""
TEX = r"""% Accuracy (%) · small world
% In the preamble: \usepackage{booktabs,graphicx}

\begin{table}
  \centering\footnotesize\setlength{\tabcolsep}{4pt}
  \caption{Accuracy (\%). A \& B, RN\_small $\cdot$ small world}
  \label{tab:accuracy-1}
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
  \begin{tabular}{@{}lrr@{}}
    \toprule
    Test set & CLIP & p \textless{} 0.05 \\
    \midrule
    Cars & \textbf{1.23 $\pm$ 0.10} & $-$0.5 \\
    \midrule
    Mean & ---\textsuperscript{a} & {}[1, 2] \\
    \bottomrule
  \end{tabular}}
  \par\medskip\raggedright\scriptsize
  \textsuperscript{a}~no \texttt{cc\_\allowbreak{}1/\allowbreak{}\{x,\allowbreak{}y\}.json}\\
  Bold: p $\leq$ 0.05.
\end{table}

\begin{table}
  \centering\footnotesize\setlength{\tabcolsep}{4pt}
  \caption{Accuracy (\%) $\cdot$ small world}
  \label{tab:accuracy-2}
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
  \begin{tabular}{@{}l@{}}
    \toprule
    Only \\
    \midrule
    100 \% \\
    \bottomrule
  \end{tabular}}
  \par\medskip\raggedright\scriptsize
  Bold: p $\leq$ 0.05.
\end{table}
"""


def test_the_three_files(tmp_path: Path) -> None:
    long = pd.DataFrame({"dataset": ["cars"], "value": [0.1]})
    paths = write_document(DOCUMENT, long, "small world", tmp_path / "accuracy.csv")
    assert [path.name for path in paths] == ["accuracy.csv", "accuracy.md", "accuracy.tex"]
    assert paths[0].read_text() == "dataset,value\ncars,0.1\n"
    assert paths[1].read_text() == as_markdown(DOCUMENT, "small world") == MARKDOWN
    assert paths[2].read_text() == as_tex(DOCUMENT, "small world", "accuracy") == TEX


def test_every_character_that_latex_reads_otherwise_is_escaped() -> None:
    assert escaped(r"\&%$#_{}~^") == (r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}")
    assert escaped("a ± b — c − d · e × f ≤ g | <h>") == (
        r"a $\pm$ b --- c $-$ d $\cdot$ e $\times$ f $\leq$ g \textbar{} \textless{}h\textgreater{}"
    )
    assert escaped("Flügel") == "Flügel"


def test_every_line_has_as_many_cells_as_columns_and_every_brace_its_end() -> None:
    for width, body in re.findall(r"@\{\}([lrc]+)@\{\}\}(.*?)\\end\{tabular\}", TEX, flags=re.DOTALL):
        for line in re.findall(r"^ +(.*) \\\\$", body, flags=re.MULTILINE):
            assert len(re.split(r"(?<!\\)&", line)) == len(width)
    bare = re.sub(r"\\[{}]", "", as_tex(DOCUMENT, "", "accuracy"))
    assert bare.count("{") == bare.count("}")


@pytest.mark.parametrize(
    ("characters", "environment", "size"),
    [
        (10, "table", r"\footnotesize\setlength{\tabcolsep}{4pt}"),
        (20, "table*", r"\footnotesize\setlength{\tabcolsep}{4pt}"),
        (27, "table*", r"\scriptsize\setlength{\tabcolsep}{2pt}"),
        (30, "table*", r"\tiny\setlength{\tabcolsep}{2pt}"),
        (50, "table*", r"\tiny\setlength{\tabcolsep}{2pt}"),
    ],
)
def test_a_wide_table_spans_the_page_in_smaller_print(
    tmp_path: Path, characters: int, environment: str, size: str
) -> None:
    section = Section("", "rrrr", ["x"] * 4, [["1.23 ± 4.5"[: characters % 10].ljust(characters, "0")] * 4])
    text = as_tex(Document("t", [section]), "", "t")
    assert text.splitlines()[3:5] == [rf"\begin{{{environment}}}", rf"  \centering{size}"]
    if shutil.which("pdflatex"):
        assert "Overfull" not in compiled(text, tmp_path)


def compiled(text: str, folder: Path) -> str:
    """LaTeX's log of a two-column paper with such tables."""
    packages = r"\usepackage[a4paper,margin=2cm]{geometry}\usepackage{booktabs,graphicx}"
    head = rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}"
    (folder / "paper.tex").write_text("\n".join([head, text, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "paper.log").read_text(encoding="latin-1")


def test_a_bar_in_a_cell_does_not_split_it() -> None:
    assert r"| a\|b |" in as_markdown(Document("t", [Section("", "l", ["x"], [["a|b"]])]), "")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "—"),
        ([float("nan")], "—"),
        ([1.005], "1.00"),
        ([1.0, 2.0], "1.50 ± 0.71"),
        ([1.0, 2.0, float("nan")], "1.50 ± 0.71"),
        ([-1.0, -2.0], "−1.50 ± 0.71"),
    ],
)
def test_mean_and_deviation(values: list[float], text: str) -> None:
    assert spread(pd.Series(values, dtype=float)) == text


def test_numbers() -> None:
    assert number(-0.004) == number(0.0, signed=True) == "0.00"
    assert number(-0.5, 1, signed=True) == "−0.5"
    assert number(0.5, 1, signed=True) == "+0.5"
    assert number(None) == number(float("nan")) == "—"
    assert (probability(0.03125), probability(1e-5), probability(None)) == ("0.031", "<0.001", "—")
