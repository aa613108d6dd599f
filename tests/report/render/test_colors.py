"""Colors that texts name: each statement is checked against the color that figures use."""

import colorsys
import re
from importlib import import_module

import pytest
from matplotlib.colors import to_rgb

from cloob.objectives.registry import OBJECTIVES
from cloob.report import registry
from cloob.report.figures.predictions import CORRECT
from cloob.report.render.style import PALETTE
from tests.helpers.repository import ROOT

_HUES = {"red": (-15, 14), "orange": (14, 48), "yellow": (48, 70), "green": (70, 170), "blue": (170, 260)}
_COLOR = re.compile(rf"\b(?:(?:dark|light) )?(?:{'|'.join(_HUES)}|purple|pink|gray)s?\b", re.IGNORECASE)


def color_name(color: str | tuple[float, float, float]) -> str:
    """The name of the hue of a color."""
    hue, _, _ = colorsys.rgb_to_hls(*to_rgb(color))
    degrees = (360 * hue + 15) % 360 - 15
    return next(name for name, (low, high) in _HUES.items() if low <= degrees < high)


def luminance(color: tuple[float, float, float]) -> float:
    """The relative luminance."""
    red, green, blue = (((value + 0.055) / 1.055) ** 2.4 for value in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def named(objective: str) -> str:
    """`dark blue`: the hue of an objective, and whether it is the darker one of this hue."""
    color = PALETTE[objective]
    others = [
        other for other in PALETTE.values() if color_name(other) == color_name(color) and other != color
    ]
    shade = "dark" if all(luminance(color) < luminance(other) for other in others) else "light"
    return f"{shade} {color_name(color)}"


def prose(path: str) -> str:
    return " ".join((ROOT / path).read_text(encoding="utf-8").split())


def test_the_readme_names_the_color_of_each_objective() -> None:
    text = prose("README.md")
    sentence = re.search(r"In all figures of runs the color encodes the objective: ([^.]*)\.", text)
    assert sentence is not None
    parts = dict(re.findall(r"((?:dark|light) \w+) (?:is )?([^,(]*\w)", sentence[1]))
    titles = {"clip": "CLIP", "infonce_hopfield": "InfoNCE with Hopfield retrieval"}
    titles |= {"infoloob": "InfoLOOB", "cloob": "CLOOB"}
    assert parts == {named(objective): titles[objective] for objective in OBJECTIVES}


def test_the_caption_of_the_figure_in_the_readme_names_the_right_colors() -> None:
    caption = re.search(r"\)\s\*([^*]*)\*", prose("README.md"))
    assert caption is not None
    for color, title in re.findall(r"((?:dark |light )?(?:blue|orange)) is (\w+)", caption[1]):
        objective = next(name for name, entry in OBJECTIVES.items() if entry.title == title)
        assert color == named(objective)


def test_the_correct_class_is_as_green_as_the_caption_of_the_predictions_says() -> None:
    assert "the correct class is green" in registry.figures()["predictions"].caption
    assert color_name(CORRECT) == "green"


@pytest.mark.parametrize("kind", ["figures", "tables"])
def test_no_other_caption_names_a_color(kind: str) -> None:
    entries = getattr(registry, kind)()
    found = {name for name, entry in entries.items() if _COLOR.search(f"{entry.caption} {entry.help}")}
    assert found <= {"predictions"}


def test_no_title_or_legend_of_a_figure_names_a_color() -> None:
    for name in registry.figures():
        module = import_module(f"cloob.report.figures.{name}")
        labels = re.findall(r'label=f?"([^"]*)"', (ROOT / module.__file__).read_text(encoding="utf-8"))
        assert not [label for label in labels if _COLOR.search(label)]


def test_no_other_page_names_a_color_of_a_figure() -> None:
    pages = sorted(path for path in (ROOT / "docs").glob("*.md"))
    for page in [*pages, ROOT / "workflow" / "report" / "workflow.rst"]:
        for sentence in re.split(r"(?<=[.!?])\s", page.read_text(encoding="utf-8")):
            assert not ("figure" in sentence.lower() and _COLOR.search(sentence)), sentence
