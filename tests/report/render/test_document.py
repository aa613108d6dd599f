"""Documents as Markdown and LaTeX: literal text, complete rows, and tables that fit the page."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from cloob.report.render.document import (
    Cell,
    Document,
    Heading,
    Section,
    to_latex,
    to_markdown,
    write_document,
)
from cloob.report.render.latex import latex_text

DOCUMENT = Document(
    "Accuracy (%)",
    [
        Section(
            "A & B, RN_small",
            "lrr",
            ["Test set", "CLIP", "p < 0.05"],
            [["Cars", Cell("1.23 ± 0.10", bold=True), "−0.5"], ["Mean", Cell("—", note="a"), "[1, 2]"]],
            footnotes={"a": "no `cc3m_1/{x,y}.json`"},
            summary_rows=1,
        ),
        Section("", "l", ["Only"], [["100%"]]),
    ],
    ["Bold: p ≤ 0.05."],
)
MARKDOWN = """\
# Accuracy (%) · toy dataset

## A & B, RN_small

| Test set | CLIP | p < 0.05 |
| --- | ---: | ---: |
| Cars | **1.23 ± 0.10** | −0.5 |
| Mean | — [a] | [1, 2] |

- [a] no `cc3m_1/{x,y}.json`

| Only |
| --- |
| 100% |

Bold: p ≤ 0.05.
"""
LATEX = r"""% Accuracy (%) · toy dataset
% In the preamble: \usepackage{booktabs,graphicx}

\begin{table}
  \centering\footnotesize\setlength{\tabcolsep}{4pt}
  \caption{Accuracy (\%). A \& B, RN\_small $\cdot$ toy dataset}
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
  \textsuperscript{a}~no \texttt{cc3m\_\allowbreak{}1/\allowbreak{}\{x,\allowbreak{}y\}.json}\par
  Bold: p $\leq$ 0.05.\par
\end{table}

\begin{table}
  \centering\footnotesize\setlength{\tabcolsep}{4pt}
  \caption{Accuracy (\%) $\cdot$ toy dataset}
  \label{tab:accuracy-2}
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
  \begin{tabular}{@{}l@{}}
    \toprule
    Only \\
    \midrule
    100\% \\
    \bottomrule
  \end{tabular}}
  \par\medskip\raggedright\scriptsize
  Bold: p $\leq$ 0.05.\par
\end{table}
"""


def test_document_is_written_as_csv_markdown_and_latex(tmp_path: Path) -> None:
    long = pd.DataFrame({"dataset": ["cars"], "value": [0.1]})
    paths = write_document(DOCUMENT, long, "toy dataset", tmp_path / "accuracy.csv")
    assert [path.name for path in paths] == ["accuracy.csv", "accuracy.md", "accuracy.tex"]
    assert paths[0].read_text() == "dataset,value\ncars,0.1\n"
    assert paths[1].read_text() == to_markdown(DOCUMENT, "toy dataset") == MARKDOWN
    assert paths[2].read_text() == to_latex(DOCUMENT, "toy dataset", "accuracy") == LATEX


def test_special_characters_of_latex_are_escaped() -> None:
    assert latex_text(r"\&%$#_{}~^") == (r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}")
    assert latex_text("a ± b — c − d · e × f ≤ g | <h>") == (
        r"a $\pm$ b --- c $-$ d $\cdot$ e $\times$ f $\leq$ g \textbar{} \textless{}h\textgreater{}"
    )
    assert latex_text("Flügel") == "Flügel"


def test_latex_rows_have_a_cell_per_column_and_braces_balance() -> None:
    tables = re.findall(r"@\{\}([lrc]+)@\{\}\}(.*?)\\end\{tabular\}", LATEX, flags=re.DOTALL)
    assert len(tables) == 2
    for columns, body in tables:
        for line in re.findall(r"^ +(.*) \\\\$", body, flags=re.MULTILINE):
            assert len(re.split(r"(?<!\\)&", line)) == len(columns)
    unescaped = re.sub(r"\\[{}]", "", to_latex(DOCUMENT, "", "accuracy"))
    assert unescaped.count("{") == unescaped.count("}")


@pytest.mark.parametrize(("columns", "environment"), [(2, "table"), (5, "table"), (6, "table*")])
def test_tables_with_many_columns_span_the_page(columns: int, environment: str) -> None:
    section = Section("", "r" * columns, ["x"] * columns, [["1.23 ± 4.5"] * columns])
    text = to_latex(Document("t", [section]), "", "t")
    assert rf"\begin{{{environment}}}" in text
    assert rf"\end{{{environment}}}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("width", [5, 40])
@pytest.mark.parametrize("columns", [2, 4, 10])
def test_tables_of_any_width_fit_a_two_column_page(tmp_path: Path, columns: int, width: int) -> None:
    section = Section("", "r" * columns, ["x"] * columns, [["0" * width] * columns])
    assert "Overfull" not in compile_latex(to_latex(Document("t", [section]), "", "t"), tmp_path)


def compile_latex(text: str, folder: Path) -> str:
    """Compile a two-column paper with these tables; returns the log."""
    packages = r"\usepackage[a4paper,margin=2cm]{geometry}\usepackage{booktabs,graphicx}"
    preamble = rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}"
    (folder / "paper.tex").write_text("\n".join([preamble, text, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / "paper.log").read_text(encoding="latin-1")


def test_heading_of_rows_spans_all_columns() -> None:
    section = Section("", "lrr", ["a", "b", "c"], [Heading("A & B"), ["1", "2", "3"]])
    assert "| **A & B** | | |\n| 1 | 2 | 3 |\n" in to_markdown(Document("t", [section]), "")
    latex = to_latex(Document("t", [section]), "", "t")
    assert r"\multicolumn{3}{@{}l@{}}{\textbf{A \& B}} \\" in latex


def test_vertical_bar_does_not_split_a_markdown_cell() -> None:
    assert r"| a\|b |" in to_markdown(Document("t", [Section("", "l", ["x"], [["a|b"]])]), "")


def test_a_group_spans_the_columns_of_a_latex_table() -> None:
    rows = [Heading("A & B"), ["1", "2"], Heading("C"), ["3", "4"]]
    text = to_latex(Document("t", [Section("", "lr", ["x", "y"], rows)]), "", "t")
    assert r"\multicolumn{2}{@{}l@{}}{\textbf{A \& B}} \\" in text
    assert text.count(r"\addlinespace") == 1  # not above the first row
