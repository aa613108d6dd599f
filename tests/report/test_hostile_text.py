"""Text from configs and data is shown literally in Markdown, HTML, LaTeX and figures, never as markup."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from markdown import markdown
from matplotlib.figure import Figure
from matplotlib.text import Text

from cloob.report.figures import corpus
from cloob.report.load.inputs import Inputs
from cloob.report.load.paper import PaperColumn
from cloob.report.load.targets import brace_paths
from cloob.report.make import make_table
from cloob.report.names import Labels
from cloob.report.render.document import Cell, Document, Section, to_latex, to_markdown, write_document
from cloob.report.render.html import convert_to_html, markdown_to_html
from cloob.report.render.latex import latex_text
from cloob.report.render.style import figure_style, figure_text, save_figure
from cloob.report.render.text import Code
from tests.helpers.hostile_text import HOSTILE, one_line
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import write_synthetic_results

BLOCKS = ("h1", "h2", "th", "td", "li", "p")


class Page(HTMLParser):
    """The tags of a page, and the text of its blocks as (tag, text)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[tuple] = set()
        self.blocks: list[tuple[str, str]] = []
        self._text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.add((tag, *attributes))
        if tag in BLOCKS:
            self._text = ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.blocks.append((tag, " ".join(self._text.split())))


def document(text: str) -> Document:
    """A document with the text everywhere that a table has text."""
    notes = {"a": (text,), "b": ("make ", Code(text))}
    rows = [[text, Cell(text, bold=True, note="a")], [Cell(text), "2"]]
    return Document(text, [Section(text, "lr", [text, "x"], rows, notes, remarks=[(text,)])], [(text,)])


def converters() -> dict[str, Callable[[str], str]]:
    """The converter of the HTML report, and Python-Markdown with its defaults."""
    return {
        "page": markdown_to_html,
        "markdown": lambda text: markdown(text, extensions=["tables", "footnotes"]),
    }


@pytest.mark.parametrize("converter", converters())
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_markdown_table_shows_the_text_everywhere_without_tags(text: str, converter: str) -> None:
    page = Page(converters()[converter](to_markdown(document(text), text)))
    allowed = {"h1", "h2", "table", "thead", "tbody", "tr", "td", "th", "strong", "ul", "li", "code", "p"}
    assert {tag for tag, *_ in page.tags} <= allowed
    shown = one_line(text)
    for name, value in {attribute for _, *attributes in page.tags for attribute in attributes}:
        if name == "class":
            assert re.fullmatch(r"fits-\d+|(sentence|short|long)( (sentence|short|long))*", value)
        else:
            column = " ".join(value.split())
            assert (name, column) in {
                *(("style", "text-align: right;"), ("data-column", shown), ("data-column", "x"))
            }
    cells = [block for block in page.blocks if block[0] in ("td", "th")]
    assert cells == [
        *(("th", shown), ("th", "x"), ("td", shown), ("td", f"{shown} [a]".strip())),
        *(("td", shown), ("td", "2")),
    ]
    [title] = [block for tag, block in page.blocks if tag == "h1"]
    assert title == (one_line(f"{text} · {text}") if text else "")
    items = [block for tag, block in page.blocks if tag == "li"]
    whole = " ".join(re.sub(r"[\x00-\x1f\ud800-\udfff]", "\ufffd", re.sub(r"\s", " ", text)).split())
    assert [item.replace("\\", "") for item in items] == [
        item.strip().replace("\\", "") for item in (f"[a] {whole}", f"[b] make {whole}")
    ]


@pytest.mark.parametrize(
    "markup",
    [
        "[x](javascript:alert(1))",
        "![x](http://evil.invalid/x.png)",
        "<img src=http://evil.invalid/x.png>",
        "<http://evil.invalid>",
        "<a@evil.invalid>",
        "[x]: http://evil.invalid\n\n[x] and [x][] and ![x]",
        "<script>alert(1)</script>",
    ],
)
def test_unescaped_markdown_gives_no_links_images_or_scripts(markup: str) -> None:
    page = Page(markdown_to_html(f"# {markup}\n\n| {markup} |\n| --- |\n| {markup} |\n\n{markup}\n"))
    assert not {tag[0] for tag in page.tags} & {"a", "img", "script"}


def test_title_of_a_page_is_text(tmp_path: Path) -> None:
    suffix = "</title><script>alert(1)</script> [x](http://evil.invalid) a_b & <b>"
    (tmp_path / "t.md").write_text(to_markdown(Document("Accuracy", []), suffix))
    convert_to_html(tmp_path / "t.md", tmp_path / "t.html")
    [title] = re.findall("<title>(.*)</title>", (tmp_path / "t.html").read_text())
    assert "<" not in title
    assert unescape(title) == f"Accuracy · {suffix}"


def test_markdown_does_not_escape_plain_words() -> None:
    words = ["cc3m_validation, R@1 (%)", "p < 0.05", "A & B", "+0.98 to +1.22", "−0.5", "[1, 2]", "it's 1.5"]
    document = Document("t", [Section("", "l" * len(words), words, [words])])
    assert to_markdown(document, "").count(f"| {' | '.join(words)} |") == 2


# The control sequences that escaped text may contain.
CONTROL = re.compile(
    r"\\(text(backslash|asciitilde|asciicircum|less|greater|bar|asciigrave)\{\}|[&%$#_{}]|texttt)"
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_latex_text_contains_no_commands_of_the_input(text: str) -> None:
    tex = latex_text(text)
    assert all(CONTROL.match(tex, match.start()) for match in re.finditer(r"(?<!\\)\\", tex))
    unescaped = CONTROL.sub("", tex)
    assert not set(unescaped) & set("\\&%$#_^~\n\r\0")
    assert unescaped.replace("{U+", "{").count("{") == unescaped.count("}")


def test_latex_has_no_ligatures_and_names_characters_it_cannot_print() -> None:
    assert latex_text("a--b''") == "a-{}-b'{}'"
    assert latex_text("é ł \U0001f9ff 中") == r"é ł \texttt{U+1F9FF} \texttt{U+4E2D}"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_every_table_with_hostile_text(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("SECRET")
    texts = [*HOSTILE, *(text.replace("/etc/passwd", "passwd") for text in HOSTILE)]
    tables = "\n".join(to_latex(document(text), text, text).replace("table*", "table") for text in texts)
    preamble = (
        r"\documentclass{article}\usepackage[a4paper,margin=2cm]{geometry}\usepackage{booktabs,graphicx}"
        r"\begin{document}"
    )
    body = tables.replace(r"\end{table}", r"\end{table}\clearpage")
    (tmp_path / "paper.tex").write_text("\n".join([preamble, body, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "paper.log").read_text(encoding="latin-1")
    assert result.returncode == 0, re.findall(r"^!.*(?:\n.*){3}", log, flags=re.MULTILINE)
    assert "SECRET" not in log
    assert "(./passwd" not in log


def test_files_of_a_table_are_always_utf_8(tmp_path: Path) -> None:
    for index, text in enumerate(HOSTILE):
        long = pd.DataFrame({"text": [text], "value": [0.1]})
        paths = write_document(document(text), long, text, tmp_path / f"{index}.csv")
        for path in paths:
            path.read_bytes().decode("utf-8")


def test_abbreviated_paths_are_quoted_for_the_shell() -> None:
    run = "/my work/$(touch x)/cc3m-clip-RN50-cc3m-seed1/epoch_1/zeroshot"
    assert brace_paths([Path(f"{run}/{name}.json") for name in ("a", "b c", "d\ne")]) == [
        "'/my work/$(touch x)/cc3m-clip-RN50-cc3m-seed'1/epoch_1/zeroshot/{a,'b c','d\ne'}.json"
    ]


FIGURES = (
    *("zeroshot", "predictions", "effective_eigenvalues", "effective_eigenvalues_epochs", "ajne", "spectra"),
    *("similarities", "saturation", "training_curves", "throughput", "outcomes"),
)


def texts_of(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text()]


def check(figure: Figure, folder: Path, data: pd.DataFrame) -> None:
    """Save a figure in all formats; it has no math text, no collapsed axes, and its SVG is valid XML."""
    # Warnings (missing glyphs, failed layout) are errors in tests.
    save_figure(figure, data, folder / "figure.png", [])
    assert not [text for text in texts_of(figure) if text.get_parse_math()]
    xml.etree.ElementTree.parse(folder / "figure.svg")
    for axis in figure.axes:
        assert min(axis.get_position().width, axis.get_position().height) > 0.02


@pytest.fixture(scope="module")
def inputs_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Inputs]:
    """The inputs of every figure."""
    results = write_synthetic_results(
        tmp_path_factory.mktemp("results"),
        objectives=("clip", "cloob"),
        seeds=(1,),
        epochs=(1, 4),
        eval_epochs=(4,),
    )
    inputs = dict.fromkeys(FIGURES, Inputs(results=results.structure))
    inputs |= dict.fromkeys(("saturation", "training_curves", "throughput"), Inputs(results=results.logs))
    return inputs | {
        "zeroshot": Inputs(results=results.zeroshot),
        "outcomes": Inputs(summaries=results.summaries),
        "predictions": Inputs(results=results.predictions),
    }


# All texts joined: a figure per text would take minutes.
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("text", [" ".join(HOSTILE[:-2]), HOSTILE[-1]], ids=["short", "long"])
def test_every_figure_shows_hostile_text_and_keeps_its_layout(
    name: str, text: str, inputs_of: dict[str, Inputs], tmp_path: Path
) -> None:
    figure = import_module(f"cloob.report.figures.{name}")
    data = figure.read(inputs_of[name])
    for column in {"corpus", "architecture", "recipe", "split", "class", "guess"} & set(data):
        data[column] = text
    if name == "outcomes":
        data["outcome"] = [outcome if outcome == "kept" else f"{outcome} {text}" for outcome in data.outcome]
        data.loc[data.index[-1], "outcome"] = text
    if "dataset" in data:
        data["dataset"] = [dataset if index else text for index, dataset in enumerate(data.dataset)]
    with figure_style():
        check(figure.draw(data, Labels(text)), tmp_path, data)


def test_corpus_figure_shows_hostile_text(tmp_path: Path) -> None:
    measures = ("width", "height", "aspect_ratio", "image_kilobytes", "caption_words")
    rows = [("$a$\n" * 50, r"\alpha$ <b>", measure, 1.0, 2.0, 1.0) for measure in measures]
    data = pd.DataFrame(rows, columns=["corpus", "split", "measure", "from", "to", "share"])
    with figure_style():
        check(corpus.draw(data, Labels("$x$")), tmp_path, data)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_figure_text_is_drawn_literally(text: str, tmp_path: Path) -> None:
    with figure_style():
        figure = Figure(figsize=(3, 1))
        drawn = figure.text(0, 0.5, figure_text(text, 40))
    figure.savefig(tmp_path / "a.svg")
    assert not drawn.get_parse_math()
    expected = one_line(text) if len(one_line(text)) <= 40 else one_line(text)[:39].rstrip() + "…"
    missing = str.maketrans(dict.fromkeys("\U0001f9ff中文", "\ufffd"))
    assert drawn.get_text() == expected.translate(missing)


# Lone surrogates are errors in input files: see test_damaged_inputs.py.
ALL = re.sub("[\ud800-\udfff]", "", " ".join(HOSTILE[:-2]))


@pytest.fixture(scope="module")
def hostile_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Result files and logs whose architecture, recipe, test set and device are markup, by table."""
    folder = tmp_path_factory.mktemp("tables")
    results = write_synthetic_results(
        folder, objectives=("clip", "cloob"), seeds=(1, 2), epochs=(1, 4), eval_epochs=(4,)
    )
    probes = []
    for path in [*results.zeroshot, *results.structure]:
        result = json.loads(path.read_text())
        result["run"] |= {"architecture": ALL, "recipe": ALL}
        result["dataset"] = result["dataset"] + ALL
        path.write_text(json.dumps(result))
        if path in results.zeroshot:
            probe = path.parents[1] / "linear_probe" / path.name
            probe.parent.mkdir(exist_ok=True)
            fit = {"features": ALL, "metrics": result["metrics"], "converged": False}
            result |= {"protocol": "linear_probe", "probes": [fit, fit | {"features": f"x{ALL}"}]}
            probe.write_text(json.dumps(result))
            probes.append(probe)
    for path in results.logs:
        events = [json.loads(line) for line in path.read_text().splitlines()]
        events[0]["run"] |= {"name": events[0]["run"]["name"] + ALL, "architecture": ALL, "recipe": ALL}
        events[0] |= {"device": ALL, "commit": ALL, "recipe": {}, "model_config": {}, "corpus_sha256": ALL}
        events[0] |= {"pairs": 3, "restarts": 0, "torch": ALL}
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
    # A missing result, whose path is shown in a footnote.
    name = f"cc3m-infoloob-{ALL.replace('/', ' ').replace(chr(0), '')[:150]}-cc3m-seed9"
    missing = results.zeroshot[0].parents[2].with_name(name) / "epoch_4" / "zeroshot" / "gtsrb.json"
    return {
        "zeroshot": [*results.zeroshot, missing],
        "linear_probe": probes,
        "embedding_structure": results.structure,
        "ablation": [*results.zeroshot, missing, *results.structure, *results.logs],
        "claims": [*results.zeroshot, missing, *results.structure, *results.logs],
        "throughput": results.logs,
        "provenance": results.logs,
    }


def check_table(markdown_path: Path) -> None:
    """The data are neither tags in the HTML page nor commands in the LaTeX file."""
    page = markdown_path.with_suffix(".html")
    convert_to_html(markdown_path, page)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "table",
        "thead",
        "tbody",
        "tr",
        "td",
    }
    tags = Page(page.read_text(encoding="utf-8")).tags
    assert {tag[0] for tag in tags} <= allowed | {"main", "th", "strong", "ul", "li", "code", "p"}
    assert {name for tag in tags for name, _ in tag[1:]} <= {
        *("lang", "charset", "name", "content", "style", "class", "data-column", "colspan", "scope")
    }
    tex = markdown_path.with_suffix(".tex").read_text(encoding="utf-8")
    code = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    assert not re.findall(r"\\(?:input|frac|stop|end\{document)|(?<!\\)\$x|\^\^", code)


@pytest.mark.parametrize(
    "name",
    ["zeroshot", "linear_probe", "embedding_structure", "ablation", "claims", "throughput", "provenance"],
)
def test_every_table_of_results_and_logs_shows_hostile_text(
    name: str, hostile_results: dict[str, list[Path]], tmp_path: Path
) -> None:
    csv = tmp_path / f"{name}.csv"
    inputs = Inputs(results=hostile_results[name], allow_missing=True, labels=Labels(ALL, {"cc3m": ALL}))
    make_table(name, inputs, csv)
    check_table(csv.with_suffix(".md"))
    assert len(pd.read_csv(csv)) > 0


def test_accounting_shows_hostile_text_and_truncates_long_reasons(tmp_path: Path) -> None:
    outcomes = tmp_path / "outcomes.csv"
    reasons = [text for text in HOSTILE if text and "\0" not in text]
    pd.DataFrame({"outcome": ["kept", *reasons], "rows": 1}).to_csv(
        outcomes, index=False, errors="backslashreplace", lineterminator="\n"
    )
    inputs = Inputs(outcomes=[(f"{ALL.replace('/', ' ')}/train/urls", outcomes)], labels=Labels(ALL))
    printed = make_table("accounting", inputs, tmp_path / "accounting.csv")
    check_table(tmp_path / "accounting.md")
    rows = [line for line in printed.splitlines() if line.startswith("| urls | rejected: ")]
    assert len(rows) == len(reasons)
    assert max(map(len, rows)) < 250
    assert any(f"{'x' * 79}…" in row for row in rows)


def test_table_of_released_checkpoints_shows_hostile_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            {
                "protocol": "zeroshot",
                "run": {"name": ALL, "architecture": ALL},
                "epoch": 1,
                "dataset": ALL,
                "images": 3,
                "metrics": {"accuracy": 0.5, "mean_per_class_accuracy": 0.5},
            }
        )
    )
    inputs = Inputs(
        released=[(PaperColumn(ALL, ALL, ALL, 1), path)],
        paper=ROOT / "config" / "paper_results.csv",
        labels=Labels(ALL),
    )
    make_table("released", inputs, tmp_path / "released.csv")
    check_table(tmp_path / "released.md")
