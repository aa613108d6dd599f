"""The layout of a figure: everything is on the page, and no text overlaps another."""

from collections.abc import Iterator
from itertools import combinations

from matplotlib.figure import Figure


def check_layout(figure: Figure) -> None:
    """Fail if a text or legend of a drawn figure is cut off, or overlaps another."""
    page = figure.bbox.padded(1)
    boxes = list(texts(figure))
    assert [text for text, box in boxes if not (page.contains(*box.min) and page.contains(*box.max))] == []
    assert [
        (text, other)
        for (text, box), (other, other_box) in combinations(boxes, 2)
        if box.padded(-1).overlaps(other_box.padded(-1))
    ] == []


def texts(figure: Figure) -> Iterator[tuple[str, object]]:
    """Every title, label, tick label and legend of a figure, with its bounding box."""
    yield figure.get_suptitle(), figure._suptitle.get_window_extent()
    for legend in figure.legends:
        yield "legend", legend.get_window_extent()
    for axis in figure.axes:
        candidates = [axis.title, axis._left_title, axis.xaxis.label, axis.yaxis.label]
        for part, (low, high) in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            candidates += [
                tick.label1
                for tick in part.get_major_ticks()
                if min(low, high) <= tick.get_loc() <= max(low, high) and tick.label1.get_visible()
            ]
        for text in candidates:
            if axis.axison and text.get_visible() and text.get_text():
                yield text.get_text(), text.get_window_extent()
