"""Text from configs and data is shown as text in Markdown, HTML, LaTeX and figures, whatever it says."""

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

from cloob.report.figures.corpus import corpus_figure
from cloob.report.load.targets import in_braces
from cloob.report.render.html import html_of, report_page
from cloob.report.render.latex import escaped
from cloob.report.render.style import save_figure, shown, styled
from cloob.report.render.table import Cell, Document, Section, as_markdown, as_tex, write_document
from cloob.report.render.text import Code
from cloob.report.tables.accounting import report_books
from cloob.report.tables.registry import report_table
from cloob.report.tables.released import Column, report_published
from tests.helpers.hostile_text import HOSTILE, one_line
from tests.helpers.repository import ROOT
from tests.helpers.synthetic_results import write_world

BLOCKS = ("h1", "h2", "th", "td", "li", "p")


class Read(HTMLParser):
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
    """A document with the text in every place that a table has."""
    notes = {"a": (text,), "b": ("make ", Code(text))}
    rows = [[text, Cell(text, bold=True, note="a")], [Cell(text), "2"]]
    return Document(text, [Section(text, "lr", [text, "x"], rows, notes, remarks=[(text,)])], [(text,)])


def readers() -> dict[str, Callable[[str], str]]:
    """The page's own reading of Markdown, and that of anybody's Python-Markdown."""
    return {"page": html_of, "markdown": lambda text: markdown(text, extensions=["tables", "footnotes"])}


@pytest.mark.parametrize("reader", readers())
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_table_shows_it_in_every_place_and_holds_no_tag_of_its_own(text: str, reader: str) -> None:
    page = Read(readers()[reader](as_markdown(document(text), text)))
    right = ("style", "text-align: right;")
    ours = {"h1", "h2", "table", "thead", "tbody", "tr", "td", "th", "strong", "ul", "li", "code", "p"}
    assert page.tags <= {*((tag,) for tag in ours), ("td", right), ("th", right)}
    said = one_line(text)
    cells = [block for block in page.blocks if block[0] in ("td", "th")]
    assert cells == [
        *(("th", said), ("th", "x"), ("td", said), ("td", f"{said} [a]".strip())),
        *(("td", said), ("td", "2")),
    ]
    [title] = [each for tag, each in page.blocks if tag == "h1"]
    assert title == (one_line(f"{text} · {text}") if text else "")
    items = [each for tag, each in page.blocks if tag == "li"]
    whole = " ".join(re.sub(r"[\x00-\x1f\ud800-\udfff]", "\ufffd", re.sub(r"\s", " ", text)).split())
    assert [each.replace("\\", "") for each in items] == [
        each.strip().replace("\\", "") for each in (f"[a] {whole}", f"[b] make {whole}")
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
def test_a_page_of_markdown_that_was_not_escaped_has_no_link_no_image_and_no_script(markup: str) -> None:
    page = Read(html_of(f"# {markup}\n\n| {markup} |\n| --- |\n| {markup} |\n\n{markup}\n"))
    assert not {tag[0] for tag in page.tags} & {"a", "img", "script"}


def test_the_title_of_a_page_is_text(tmp_path: Path) -> None:
    mark = "</title><script>alert(1)</script> [x](http://evil.invalid) a_b & <b>"
    (tmp_path / "t.md").write_text(as_markdown(Document("Accuracy", []), mark))
    report_page(tmp_path / "t.md", tmp_path / "t.html")
    [title] = re.findall("<title>(.*)</title>", (tmp_path / "t.html").read_text())
    assert "<" not in title
    assert unescape(title) == f"Accuracy · {mark}"


def test_markdown_keeps_plain_words_readable() -> None:
    words = ["cc3m_validation, R@1 (%)", "p < 0.05", "A & B", "+0.98 to +1.22", "−0.5", "[1, 2]", "it's 1.5"]
    document = Document("t", [Section("", "l" * len(words), words, [words])])
    assert as_markdown(document, "").count(f"| {' | '.join(words)} |") == 2


# Where a control sequence of TeX begins in printed text, it is one of these.
CONTROL = re.compile(
    r"\\(text(backslash|asciitilde|asciicircum|less|greater|bar|asciigrave)\{\}|[&%$#_{}]|texttt)"
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_latex_reads_nothing_of_it_as_a_command(text: str) -> None:
    tex = escaped(text)
    assert all(CONTROL.match(tex, found.start()) for found in re.finditer(r"(?<!\\)\\", tex))
    bare = CONTROL.sub("", tex)
    assert not set(bare) & set("\\&%$#_^~\n\r\0")
    assert bare.replace("{U+", "{").count("{") == bare.count("}")


def test_latex_keeps_hyphens_and_quotes_and_names_what_it_has_no_letter_for() -> None:
    assert escaped("a--b''") == "a-{}-b'{}'"
    assert escaped("é ł \U0001f9ff 中") == r"é ł \texttt{U+1F9FF} \texttt{U+4E2D}"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles_every_table_with_it(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("SECRET")
    texts = [*HOSTILE, *(text.replace("/etc/passwd", "passwd") for text in HOSTILE)]
    tables = "\n".join(as_tex(document(text), text, text).replace("table*", "table") for text in texts)
    head = (
        r"\documentclass{article}\usepackage[a4paper,margin=2cm]{geometry}\usepackage{booktabs,graphicx}"
        r"\begin{document}"
    )
    body = tables.replace(r"\end{table}", r"\end{table}\clearpage")
    (tmp_path / "paper.tex").write_text("\n".join([head, body, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "paper.log").read_text(encoding="latin-1")
    assert done.returncode == 0, re.findall(r"^!.*(?:\n.*){3}", log, flags=re.MULTILINE)
    assert "SECRET" not in log
    assert "(./passwd" not in log


def test_the_files_of_a_table_are_utf_8_whatever_it_holds(tmp_path: Path) -> None:
    for place, text in enumerate(HOSTILE):
        long = pd.DataFrame({"text": [text], "value": [0.1]})
        paths = write_document(document(text), long, text, tmp_path / f"{place}.csv")
        for path in paths:
            path.read_bytes().decode("utf-8")


def test_paths_in_footnotes_are_quoted_for_the_shell() -> None:
    run = "/my work/$(touch x)/cc3m-clip-RN50-cc3m-seed1/epoch_1/zeroshot"
    assert in_braces([Path(f"{run}/{name}.json") for name in ("a", "b c", "d\ne")]) == [
        "'/my work/$(touch x)/cc3m-clip-RN50-cc3m-seed'1/epoch_1/zeroshot/{a,'b c','d\ne'}.json"
    ]


FIGURES = (
    *("zeroshot", "predictions", "effective_eigenvalues", "effective_eigenvalues_epochs", "ajne", "spectra"),
    *("similarities", "saturation", "training_curves", "throughput", "outcomes"),
)


def texts_of(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text()]


def check(figure: Figure, folder: Path, data: pd.DataFrame) -> None:
    """It is drawn without math, in all three forms, with nothing squeezed out, and its SVG is XML."""
    save_figure(
        figure, data, folder / "figure.png", []
    )  # a warning is an error here: of a glyph, of the layout
    assert not [text for text in texts_of(figure) if text.get_parse_math()]
    xml.etree.ElementTree.parse(folder / "figure.svg")
    for axis in figure.axes:
        assert min(axis.get_position().width, axis.get_position().height) > 0.02


@pytest.fixture(scope="module")
def inputs_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """A small world's files, by figure."""
    objectives = ("clip", "cloob")
    folder = tmp_path_factory.mktemp("world")
    world = write_world(folder, objectives=objectives, seeds=(1,), epochs=(1, 4), eval_epochs=(4,))
    inputs = dict.fromkeys(FIGURES, world.structure) | {
        "zeroshot": world.zeroshot,
        "outcomes": world.outcomes,
    }
    inputs |= dict.fromkeys(("saturation", "training_curves", "throughput"), world.logs)
    return inputs | {"predictions": world.predictions}


# All of them in one figure each: a panel or label per text would take minutes.
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("text", [" ".join(HOSTILE[:-2]), HOSTILE[-1]], ids=["short", "long"])
def test_every_figure_shows_it_and_keeps_its_layout(
    name: str, text: str, inputs_of: dict[str, list[Path]], tmp_path: Path
) -> None:
    figure = import_module(f"cloob.report.figures.{name}")
    data = figure.read(inputs_of[name])
    for column in {"corpus", "architecture", "recipe", "split", "class", "guess"} & set(data):
        data[column] = text
    if name == "outcomes":
        data["outcome"] = [outcome if outcome == "kept" else f"{outcome} {text}" for outcome in data.outcome]
        data.loc[data.index[-1], "outcome"] = text
    if "dataset" in data:
        data["dataset"] = [dataset if place else text for place, dataset in enumerate(data.dataset)]
    with styled():
        check(figure.draw(data, text), tmp_path, data)


def test_the_corpus_figure_shows_it(tmp_path: Path) -> None:
    measures = ("width", "height", "aspect_ratio", "image_kilobytes", "caption_words")
    rows = [("$a$\n" * 50, r"\alpha$ <b>", measure, 1.0, 2.0, 1.0) for measure in measures]
    data = pd.DataFrame(rows, columns=["corpus", "split", "measure", "from", "to", "share"])
    with styled():
        check(corpus_figure(data, "$x$"), tmp_path, data)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_figure_draws_the_letters_themselves(text: str, tmp_path: Path) -> None:
    with styled():
        figure = Figure(figsize=(3, 1))
        drawn = figure.text(0, 0.5, shown(text, 40))
    figure.savefig(tmp_path / "a.svg")
    assert not drawn.get_parse_math()
    expected = one_line(text) if len(one_line(text)) <= 40 else one_line(text)[:39].rstrip() + "…"
    missing = str.maketrans(dict.fromkeys("\U0001f9ff中文", "\ufffd"))
    assert drawn.get_text() == expected.translate(missing)


# Half of a surrogate pair is in no file that is read: see test_damaged_inputs.py.
ALL = re.sub("[\ud800-\udfff]", "", " ".join(HOSTILE[:-2]))


@pytest.fixture(scope="module")
def hostile_world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Result files and logs whose architecture, recipe, test set and device are markup, by table."""
    folder = tmp_path_factory.mktemp("tables")
    two = ("clip", "cloob")
    made = write_world(folder, objectives=two, seeds=(1, 2), epochs=(1, 4), eval_epochs=(4,))
    probes = []
    for path in [*made.zeroshot, *made.structure]:
        result = json.loads(path.read_text())
        result["run"] |= {"architecture": ALL, "recipe": ALL}
        result["dataset"] = result["dataset"] + ALL
        path.write_text(json.dumps(result))
        if path in made.zeroshot:
            probe = path.parents[1] / "linear_probe" / path.name
            probe.parent.mkdir(exist_ok=True)
            fit = {"features": ALL, "metrics": result["metrics"], "converged": False}
            result |= {"protocol": "linear_probe", "probes": [fit, fit | {"features": f"x{ALL}"}]}
            probe.write_text(json.dumps(result))
            probes.append(probe)
    for path in made.logs:
        events = [json.loads(line) for line in path.read_text().splitlines()]
        events[0]["run"] |= {"name": events[0]["run"]["name"] + ALL, "architecture": ALL, "recipe": ALL}
        events[0] |= {"device": ALL, "commit": ALL, "recipe": {}, "model_config": {}, "corpus_sha256": ALL}
        events[0] |= {"pairs": 3, "restarts": 0, "torch": ALL}
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
    # One that is not there: its path goes into a footnote.
    name = f"cc3m-infoloob-{ALL.replace('/', ' ').replace(chr(0), '')[:150]}-cc3m-seed9"
    missing = made.zeroshot[0].parents[2].with_name(name) / "epoch_4" / "zeroshot" / "gtsrb.json"
    return {
        "zeroshot": [*made.zeroshot, missing],
        "linear_probe": probes,
        "embedding_structure": made.structure,
        "ablation": [*made.zeroshot, missing, *made.structure, *made.logs],
        "claims": [*made.zeroshot, missing, *made.structure, *made.logs],
        "throughput": made.logs,
        "provenance": made.logs,
    }


def holds_only_text(markdown_path: Path) -> None:
    """No tag in its page, and no command in its LaTeX, is of the data."""
    page = markdown_path.with_suffix(".html")
    report_page(markdown_path, page)
    ours = {
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
    tags = Read(page.read_text(encoding="utf-8")).tags
    assert {tag[0] for tag in tags} <= ours | {"th", "strong", "ul", "li", "code", "p"}
    assert {name for tag in tags for name, _ in tag[1:]} <= {"lang", "charset", "name", "content", "style"}
    tex = markdown_path.with_suffix(".tex").read_text(encoding="utf-8")
    read = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    assert not re.findall(r"\\(?:input|frac|stop|end\{document)|(?<!\\)\$x|\^\^", read)


@pytest.mark.parametrize(
    "name",
    ["zeroshot", "linear_probe", "embedding_structure", "ablation", "claims", "throughput", "provenance"],
)
def test_every_table_of_results_and_logs_holds_it_as_text(
    name: str, hostile_world: dict[str, list[Path]], tmp_path: Path
) -> None:
    csv = tmp_path / f"{name}.csv"
    report_table(name, hostile_world[name], True, None, csv, ALL)
    holds_only_text(csv.with_suffix(".md"))
    assert len(pd.read_csv(csv)) > 0


def test_the_books_hold_it_as_text_and_a_long_reason_is_cut_off(tmp_path: Path) -> None:
    outcomes = tmp_path / "outcomes.csv"
    reasons = [text for text in HOSTILE if text and "\0" not in text]
    pd.DataFrame({"outcome": ["kept", *reasons], "rows": 1}).to_csv(
        outcomes, index=False, errors="backslashreplace", lineterminator="\n"
    )
    printed = report_books(
        [(f"{ALL.replace('/', ' ')}/train/urls", outcomes)], tmp_path / "accounting.csv", ALL
    )
    holds_only_text(tmp_path / "accounting.md")
    rows = [line for line in printed.splitlines() if line.startswith("| links | refused: ")]
    assert len(rows) == len(reasons)
    assert max(map(len, rows)) < 250
    assert any(f"{'x' * 79}…" in row for row in rows)


def test_the_published_table_holds_it_as_text(tmp_path: Path) -> None:
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
    paper = ROOT / "config" / "paper_results.csv"
    report_published([(Column(ALL, ALL, ALL, 1), path)], paper, tmp_path / "published.csv", ALL)
    holds_only_text(tmp_path / "published.md")
