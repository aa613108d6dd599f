"""Limits on the structure of image files, checked on the bytes before any decoder sees them.

Decoders process everything that a file declares: a progressive JPEG of half a megabyte can contain 20,000
scans, and each is a pass over all pixels. The limits are far above what encoders write.
"""

import re
import struct

# The limit of libtiff for JPEG data within a TIFF; encoders write about 10.
MAX_SCANS = 100
MAX_PARTS = 20_000  # segments of a JPEG, chunks of a PNG, blocks before the image of a GIF
MAX_METADATA_BYTES = 1 << 24  # before a JPEG's first scan: Pillow joins some of them one by one
MAX_JUNK_BYTES = 1 << 16  # between these segments: Pillow reads them one by one
MAX_SCANNED_PIXELS = 2_000_000_000  # pixels × scans of a JPEG: some seconds of decoding
MAX_SLOW_BYTES = 1 << 22  # of an image that Pillow decodes in Python: some seconds
MAX_TILE_PIXELS = 1 << 24  # of a TIFF, if the image has not half as many: libtiff decodes whole tiles

# Standalone markers (TEM, restarts, SOI) have no length; 0xFF00 is data. Fill bytes (0xFF) before a marker
# are not part of the pattern, because repetitions of them would make the search quadratic.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
_SCAN, _END = 0xDA, 0xD9
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG = b"\x89PNG\r\n\x1a\n"
_GIF_EXTENSION = 0x21
# Pillow reads this header byte by byte, however long its comments, and the plain formats (P1 to P3) entirely.
_PNM_GAP = rb"\s+(?:#[^\n]{0,200}\n){0,20}\s*"
_PNM = re.compile(rb"P([4-6fF])(?:" + _PNM_GAP + rb"\d{1,10}){2}(?:" + _PNM_GAP + rb"(\d{1,10}))?")
_PNM_FAST = {b"5": (255, 65_535), b"6": (255,)}  # maximum values that Pillow decodes in C
_BMP_RUN_LENGTHS = (1, 2)
_MAX_BMP_WIDTH = 65_535  # with run lengths: Pillow creates up to 255 empty rows at once
_TIFF_OFFSETS = (273, 324)  # tags of strips and tiles
_TIFF_SIZES = (256, 257, 322, 323)  # tags of width and height of the image, and of its tiles
_TIFF_INTEGER_BYTES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8, 17: 8}  # by the type of a tag


def complexity_violation(content: bytes) -> str | None:
    """A description of why decoding these bytes might take very long; None if nothing indicates it."""
    if content.startswith(b"\xff\xd8"):
        return _jpeg_violation(content)
    if content.startswith(_PNG):
        return _png_violation(content)
    if content.startswith((b"GIF87a", b"GIF89a")):
        return _gif_violation(content)
    if content.startswith((b"II", b"MM")):
        return _tiff_violation(content)
    if content.startswith(b"BM"):
        return _bmp_violation(content)
    if re.match(rb"P[1-7fyF]", content):
        return _pnm_violation(content)
    return None


def _jpeg_violation(content: bytes) -> str | None:
    """Find the markers as libjpeg does, which skips all bytes between them."""
    offset, scans, segments, junk, pixels = 2, 0, 0, 0, 0
    while (marker := _JPEG_MARKER.search(content, offset)) and marker[1][0] != _END:
        segments += 1
        if marker[1][0] == _SCAN:
            scans += 1
        elif marker[1][0] in _FRAMES:
            height, width = struct.unpack(">HH", content[marker.end() + 3 : marker.end() + 7].ljust(4, b"\0"))
            pixels = max(pixels, height * width)
        if scans > MAX_SCANS:
            return f"more than {MAX_SCANS} scans"
        if scans * pixels > MAX_SCANNED_PIXELS:
            return f"more than {MAX_SCANNED_PIXELS:,} pixels in all scans"
        junk += 0 if scans else marker.start() - offset
        if junk > MAX_JUNK_BYTES:
            return f"more than {MAX_JUNK_BYTES} bytes between segments"
        if segments > MAX_PARTS:
            return f"more than {MAX_PARTS} segments"
        offset = marker.end() + max(int.from_bytes(content[marker.end() : marker.end() + 2], "big"), 2)
        if not scans and offset > MAX_METADATA_BYTES:
            return f"more than {MAX_METADATA_BYTES} bytes of metadata"
    if not scans and len(content) - offset > MAX_JUNK_BYTES:
        return f"more than {MAX_JUNK_BYTES} bytes without a scan"
    return None


def _png_violation(content: bytes) -> str | None:
    offset, chunks = len(_PNG), 0
    while offset + 8 <= len(content):
        length, kind = struct.unpack_from(">L4s", content, offset)
        if kind == b"IEND":
            break
        offset += 12 + length
        chunks += 1
        if chunks > MAX_PARTS:
            return f"more than {MAX_PARTS} chunks"
    return None


def _gif_violation(content: bytes) -> str | None:
    header = content[:13].ljust(13, b"\0")
    offset = 13 + (3 << (header[10] & 7) + 1 if header[10] & 0x80 else 0)
    blocks = 0
    while offset + 2 < len(content) and content[offset] == _GIF_EXTENSION:
        offset += 2
        while offset < len(content) and content[offset]:
            offset += 1 + content[offset]
            blocks += 1
        offset += 1
        blocks += 1
        if blocks > MAX_PARTS:
            return f"more than {MAX_PARTS} blocks before the image"
    return None


def _tiff_violation(content: bytes) -> str | None:
    """Checks the first image; Pillow keeps a Python object for every strip or tile."""
    order = "<" if content.startswith(b"II") else ">"
    is_big = content[2:4] in (b"+\0", b"\0+")
    first_offset, num_entries, entry = ("8xQ", "Q", "HHQ8s") if is_big else ("4xL", "H", "HHL4s")
    sizes: dict[int, list[int]] = {tag: [] for tag in _TIFF_SIZES}
    try:
        (offset,) = struct.unpack_from(order + first_offset, content)
        (entries,) = struct.unpack_from(order + num_entries, content, offset)
        offset += struct.calcsize(order + num_entries)
        for tag, kind, count, value in struct.iter_unpack(
            order + entry, content[offset : offset + entries * struct.calcsize(order + entry)]
        ):
            if tag in _TIFF_OFFSETS and count > MAX_PARTS:
                return f"more than {MAX_PARTS} strips or tiles"
            if tag in sizes:
                number = value[: _TIFF_INTEGER_BYTES.get(kind, 0)]
                sizes[tag].append(int.from_bytes(number, "little" if order == "<" else "big"))
    except (struct.error, OverflowError):  # truncated, which the decoder will report
        pass
    width, height = (min(sizes[tag], default=0) for tag in _TIFF_SIZES[:2])
    tile_width, tile_height = (max(sizes[tag], default=0) for tag in _TIFF_SIZES[2:])
    if tile_width * tile_height > max(MAX_TILE_PIXELS, 2 * width * height):
        return f"tiles of more than {MAX_TILE_PIXELS:,} pixels in a smaller image"
    return None


def _bmp_violation(content: bytes) -> str | None:
    header = content[14:34].ljust(20, b"\0")
    size, width, _, _, _, compression = struct.unpack("<LLLHHL", header)
    if size < 40 or compression not in _BMP_RUN_LENGTHS:
        return None
    if width > _MAX_BMP_WIDTH or len(content) > MAX_SLOW_BYTES:
        return f"run lengths of more than {MAX_SLOW_BYTES} bytes or {_MAX_BMP_WIDTH} columns"
    return None


def _pnm_violation(content: bytes) -> str | None:
    header = _PNM.match(content)
    if not header:
        return "not a binary PBM, PGM, PPM or PFM with a short header"
    fast = _PNM_FAST.get(header[1])
    if fast and int(header[2] or 0) not in fast and len(content) > MAX_SLOW_BYTES:
        return f"more than {MAX_SLOW_BYTES} bytes of a PGM or PPM with an unusual maximum value"
    return None
