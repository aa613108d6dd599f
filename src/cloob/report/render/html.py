"""Tables in the HTML report: their Markdown as a self-contained page."""

import re
from pathlib import Path

from markdown import Markdown

from cloob.common.atomic_files import atomic_write
from cloob.common.errors import InputError, raise_if_io_error

# Wide tables scroll within the page, so that it fits a phone.
_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: white; margin: 1rem; }
h1 { font-size: 1.25rem; } h2 { font-size: 1.05rem; margin-top: 1.5rem; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: left; white-space: nowrap; }
thead th { border-top: 2px solid #222; border-bottom: 1px solid #222; }
tbody tr:last-child td { border-bottom: 2px solid #222; }
tbody tr:nth-child(even) { background: #f6f6f6; }
"""
# Inline patterns that tables do not use; their characters are shown as text.
_DISABLED = (
    *("link", "image_link", "reference", "image_reference", "short_reference", "short_image_ref"),
    *("autolink", "automail", "html"),
)


def convert_to_html(markdown_path: Path, html: Path) -> None:
    """Write the Markdown of a table as a self-contained HTML file. Raises `InputError`."""
    try:
        text = markdown_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise_if_io_error(error, markdown_path)
        raise InputError(f"{markdown_path}: not a readable table ({error}); make it again") from None
    body = markdown_to_html(text)
    heading = re.sub(r"<[^>]*>", "", body.partition("\n")[0])
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{heading}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    with atomic_write(html) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def markdown_to_html(text: str) -> str:
    """Markdown with tables -> HTML without links, images, or HTML tags of the text itself."""
    converter = Markdown(extensions=["tables", "sane_lists"], output_format="html")
    for pattern in _DISABLED:
        converter.inlinePatterns.deregister(pattern)
    converter.parser.blockprocessors.deregister("reference")
    converter.preprocessors.deregister("html_block")
    return converter.convert(text)
