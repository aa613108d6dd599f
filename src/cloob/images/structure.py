"""What an image file is made of, counted over its bytes before any decoder sees them.

Decoders take each part at its word: a progressive JPEG of half a megabyte can hold 20,000 scans, and each is
a pass over all pixels. The limits are far above what encoders write, and are defined here alone.
"""

import re
import struct

# libtiff allows as many in a JPEG within a TIFF; encoders write about 10.
MAXIMUM_SCANS = 100
MAXIMUM_PARTS = 20_000  # segments of a JPEG, chunks of a PNG, blocks before the picture of a GIF
MAXIMUM_METADATA = 1 << 24  # bytes before a JPEG's first scan: Pillow joins some of them one by one
MAXIMUM_JUNK = 1 << 16  # bytes between these segments: Pillow reads them one by one
MAXIMUM_SCANNED = 2_000_000_000  # pixels times scans of a JPEG: some seconds of decoding
MAXIMUM_SLOW = 1 << 22  # bytes of an image that Pillow decodes in Python: some seconds

# What stands alone (TEM, restarts, SOI) has no length; 0xFF00 is data. Fill bytes (0xFF) before a marker are
# not part of the pattern: repeating them makes the search quadratic.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
_SCAN, _END = 0xDA, 0xD9
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG = b"\x89PNG\r\n\x1a\n"
_GIF_EXTENSION = 0x21
# Pillow reads this header byte by byte, however long its comments; the plain forms (P1 to P3) to the end.
_PNM_GAP = rb"\s+(?:#[^\n]{0,200}\n){0,20}\s*"
_PNM = re.compile(rb"P([4-6fF])(?:" + _PNM_GAP + rb"\d{1,10}){2}(?:" + _PNM_GAP + rb"(\d{1,10}))?")
_PNM_FAST = {b"5": (255, 65_535), b"6": (255,)}  # maximum values that need no conversion
_BMP_RUN_LENGTHS = (1, 2)
_BMP_WIDEST = 65_535  # of run lengths: Pillow makes up to 255 empty rows at once
_TIFF_OFFSETS = (273, 324)  # tags of strips and tiles


def complexity_violation(content: bytes) -> str | None:
    """Why a decoder might take very long for these bytes, in words; None where nothing speaks for it."""
    if content.startswith(b"\xff\xd8"):
        return _excess_of_jpeg(content)
    if content.startswith(_PNG):
        return _excess_of_png(content)
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _excess_of_gif(content)
    if content.startswith((b"II", b"MM")):
        return _excess_of_tiff(content)
    if content.startswith(b"BM"):
        return _excess_of_bmp(content)
    if re.match(rb"P[1-7fyF]", content):
        return _excess_of_pnm(content)
    return None


def _excess_of_jpeg(content: bytes) -> str | None:
    """Find the markers as libjpeg does, which skips whatever stands between them."""
    place, scans, segments, junk, pixels = 2, 0, 0, 0, 0
    while (marker := _JPEG_MARKER.search(content, place)) and marker[1][0] != _END:
        segments += 1
        if marker[1][0] == _SCAN:
            scans += 1
        elif marker[1][0] in _FRAMES:
            height, width = struct.unpack(">HH", content[marker.end() + 3 : marker.end() + 7].ljust(4, b"\0"))
            pixels = max(pixels, height * width)
        if scans > MAXIMUM_SCANS:
            return f"more than {MAXIMUM_SCANS} scans"
        if scans * pixels > MAXIMUM_SCANNED:
            return f"more than {MAXIMUM_SCANNED:,} pixels in all scans"
        junk += 0 if scans else marker.start() - place
        if junk > MAXIMUM_JUNK:
            return f"more than {MAXIMUM_JUNK} bytes between segments"
        if segments > MAXIMUM_PARTS:
            return f"more than {MAXIMUM_PARTS} segments"
        place = marker.end() + max(int.from_bytes(content[marker.end() : marker.end() + 2], "big"), 2)
        if not scans and place > MAXIMUM_METADATA:
            return f"more than {MAXIMUM_METADATA} bytes of metadata"
    if not scans and len(content) - place > MAXIMUM_JUNK:
        return f"more than {MAXIMUM_JUNK} bytes without a scan"
    return None


def _excess_of_png(content: bytes) -> str | None:
    place, chunks = len(_PNG), 0
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">L4s", content, place)
        if kind == b"IEND":
            break
        place += 12 + length
        chunks += 1
        if chunks > MAXIMUM_PARTS:
            return f"more than {MAXIMUM_PARTS} chunks"
    return None


def _excess_of_gif(content: bytes) -> str | None:
    header = content[:13].ljust(13, b"\0")
    place = 13 + (3 << (header[10] & 7) + 1 if header[10] & 0x80 else 0)
    blocks = 0
    while place + 2 < len(content) and content[place] == _GIF_EXTENSION:
        place += 2
        while place < len(content) and content[place]:
            place += 1 + content[place]
            blocks += 1
        place += 1
        blocks += 1
        if blocks > MAXIMUM_PARTS:
            return f"more than {MAXIMUM_PARTS} blocks before the picture"
    return None


def _excess_of_tiff(content: bytes) -> str | None:
    """Of the first picture; Pillow keeps a Python object for each strip or tile."""
    order = "<" if content.startswith(b"II") else ">"
    is_big = content[2:4] in (b"+\0", b"\0+")
    first, number, entry = ("8xQ", "Q", "HHQ8x") if is_big else ("4xL", "H", "HHL4x")
    try:
        (place,) = struct.unpack_from(order + first, content)
        (entries,) = struct.unpack_from(order + number, content, place)
        place += struct.calcsize(order + number)
        for tag, _, count in struct.iter_unpack(
            order + entry, content[place : place + entries * struct.calcsize(order + entry)]
        ):
            if tag in _TIFF_OFFSETS and count > MAXIMUM_PARTS:
                return f"more than {MAXIMUM_PARTS} strips or tiles"
    except (struct.error, OverflowError):  # torn, which the decoder will say
        pass
    return None


def _excess_of_bmp(content: bytes) -> str | None:
    header = content[14:34].ljust(20, b"\0")
    size, width, _, _, _, compression = struct.unpack("<LLLHHL", header)
    if size < 40 or compression not in _BMP_RUN_LENGTHS:
        return None
    if width > _BMP_WIDEST or len(content) > MAXIMUM_SLOW:
        return f"run lengths of more than {MAXIMUM_SLOW} bytes or {_BMP_WIDEST} columns"
    return None


def _excess_of_pnm(content: bytes) -> str | None:
    header = _PNM.match(content)
    if not header:
        return "not a binary PBM, PGM, PPM or PFM with a short header"
    fast = _PNM_FAST.get(header[1])
    if fast and int(header[2] or 0) not in fast and len(content) > MAXIMUM_SLOW:
        return f"more than {MAXIMUM_SLOW} bytes of a PGM or PPM with an unusual maximum value"
    return None
