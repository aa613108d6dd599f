"""A table as a page to read in the HTML report: its Markdown, in HTML that needs nothing else."""

import re
from pathlib import Path

from markdown import Markdown

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error

# Wide tables scroll by themselves, so that a page fits a phone.
_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: white; margin: 1rem; }
h1 { font-size: 1.25rem; } h2 { font-size: 1.05rem; margin-top: 1.5rem; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: left; white-space: nowrap; }
thead th { border-top: 2px solid #222; border-bottom: 1px solid #222; }
tbody tr:last-child td { border-bottom: 2px solid #222; }
tbody tr:nth-child(even) { background: #f6f6f6; }
"""


def report_page(markdown_path: Path, html: Path) -> None:
    """Write a table's Markdown as one self-contained HTML file. Raises `InputError`."""
    try:
        text = markdown_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise_if_io_error(error, markdown_path)
        raise InputError(f"{markdown_path}: not a readable table ({error}); make it again") from None
    body = html_of(text)
    heading = re.sub(r"<[^>]*>", "", body.partition("\n")[0])
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{heading}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    with atomic_write(html) as beside:
        beside.write_text(page, encoding="utf-8", errors="backslashreplace")


# Of Markdown, what a table is not made of: links, images, and HTML; their characters are shown.
_LINKS = ("link", "image_link", "reference", "image_reference", "short_reference", "short_image_ref")
_NOT_READ = (*_LINKS, "autolink", "automail", "html")


def html_of(text: str) -> str:
    """Markdown with tables -> HTML in which nothing is a link, an image, or a tag of the text's own."""
    reader = Markdown(extensions=["tables", "sane_lists"], output_format="html")
    for pattern in _NOT_READ:
        reader.inlinePatterns.deregister(pattern)
    reader.parser.blockprocessors.deregister("reference")
    reader.preprocessors.deregister("html_block")
    return reader.convert(text)
