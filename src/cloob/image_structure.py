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

# What stands alone (TEM, restarts, SOI) has no length; 0xFF00 is data.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])")
_SCAN, _END = 0xDA, 0xD9
_PNG = b"\x89PNG\r\n\x1a\n"
_GIF_EXTENSION = 0x21
# Pillow reads this header byte by byte, however long its comments; the plain forms (P1 to P3) to the end.
_PNM = re.compile(rb"P[4-6fF](?:\s+(?:#[^\n]{0,200}\n){0,20}\s*\d{1,10}){2}")


def excess(content: bytes) -> str | None:
    """Why a decoder might take very long for these bytes, in words; None where nothing speaks for it."""
    if content.startswith(b"\xff\xd8"):
        return _excess_of_jpeg(content)
    if content.startswith(_PNG):
        return _excess_of_png(content)
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _excess_of_gif(content)
    if re.match(rb"P[1-7fyF]", content) and not _PNM.match(content):
        return "not a binary PBM, PGM, PPM or PFM with a short header"
    return None


def _excess_of_jpeg(content: bytes) -> str | None:
    """Find the markers as libjpeg does, which skips whatever stands between them."""
    place, scans, segments = 2, 0, 0
    while (marker := _JPEG_MARKER.search(content, place)) and marker[1][0] != _END:
        segments += 1
        if marker[1][0] == _SCAN:
            scans += 1
        if scans > MAXIMUM_SCANS:
            return f"more than {MAXIMUM_SCANS} scans"
        if segments > MAXIMUM_PARTS:
            return f"more than {MAXIMUM_PARTS} segments"
        place = marker.end() + max(int.from_bytes(content[marker.end() : marker.end() + 2], "big"), 2)
        if not scans and place > MAXIMUM_METADATA:
            return f"more than {MAXIMUM_METADATA} bytes of metadata"
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
