"""YFCC100M as the small world has it: metadata of photos and videos, and OpenAI's list of a subset."""

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from cloob.toy_data.captions import write_caption
from cloob.toy_data.faults import YFCC_KINDS, deal, ledger
from cloob.toy_data.render import ImageFile
from cloob.toy_data.scene import Scene, random_scene
from cloob.toy_data.vocabulary import words

# Rows of the metadata per row of the subset: most of Flickr is not in it.
_METADATA_ROWS = 1.6
_VIDEO_SHARE = 0.01
_LICENCES = {
    "Attribution License": "http://creativecommons.org/licenses/by/2.0/",
    "Attribution-NonCommercial License": "http://creativecommons.org/licenses/by-nc/2.0/",
    "Attribution-ShareAlike License": "http://creativecommons.org/licenses/by-sa/2.0/",
}


@dataclass(frozen=True)
class _Photo:
    line: int
    photo_id: str
    user: str
    secret: str
    server: int
    farm: int
    video: bool

    @property
    def download_link(self) -> str:
        return f"http://farm{self.farm}.staticflickr.invalid/{self.server}/{self.photo_id}_{self.secret}.jpg"

    @property
    def hash(self) -> str:
        """MD5 of the download link, each byte in hexadecimal without zero padding, as in YFCC100M."""
        return "".join(
            f"{byte:x}" for byte in hashlib.md5(self.download_link.encode(), usedforsecurity=False).digest()
        )


def flickr_world(seed: int, rows: int) -> tuple[Iterable[str], list[str], list[ImageFile], dict[str, Any]]:
    """Lines of the metadata, lines of the subset, its images (paths below the served folder), its ledger."""
    rng = random.Random(f"{seed}/yfcc15m")
    total = round(rows * _METADATA_ROWS) + 5
    chosen = sorted(rng.sample(range(total), rows))
    dealt = deal(YFCC_KINDS, rows, rng)
    kinds = dict(zip(chosen, dealt, strict=True))
    metadata, subset, images = [], [], []
    for line in range(total):
        kind = kinds.get(line)
        video = kind == "video" or (kind is None and rng.random() < _VIDEO_SHARE)
        photo = _photo(line, rng, video)
        scene = random_scene(rng)
        title, description = ("", "") if kind == "no_text" else _text(scene, rng)
        metadata.append("\t".join(_columns(photo, title, description, scene, rng)))
        if kind is None:
            continue
        listed = _photo(line, rng, video=False) if kind == "unknown_photo" else photo
        subset.append(f"{line}\t{listed.photo_id}\t{listed.hash}")
        if kind in ("good", "truncated", "tiny"):
            images.append(ImageFile(image_path(photo.hash), scene, "photo" if kind == "good" else kind))
    return metadata, subset, images, ledger(YFCC_KINDS, dealt)


def image_path(photo_hash: str) -> str:
    """Where the image of a hash lies in the Multimedia Commons bucket."""
    return f"data/images/{photo_hash[:3]}/{photo_hash[3:6]}/{photo_hash}.jpg"


def _photo(line: int, rng: random.Random, video: bool) -> _Photo:
    return _Photo(
        line=line,
        photo_id=str(rng.randrange(10**9, 10**10)),
        user=f"{rng.randrange(10**7, 10**8)}@N{rng.randint(0, 9):02d}",
        secret=f"{rng.getrandbits(40):010x}",
        server=rng.randint(1000, 9000),
        farm=rng.randint(1, 9),
        video=video,
    )


def _text(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """Title and description as people leave them: at least one of the two says something."""
    chatter = words()["chatter"]
    spoken = rng.random() < 0.65
    if spoken:
        title = write_caption(scene, rng).text.title()
    else:
        title = rng.choice(
            (f"IMG_{rng.randint(1, 9999):04d}", f"DSC{rng.randint(1, 99999):05d}.JPG", *chatter["titles"])
        )
    if rng.random() < 0.05:
        title += f" ({rng.choice(chatter['foreign'])})"
    parts = [write_caption(scene, rng).text] if rng.random() < (0.5 if spoken else 0.9) else []
    if rng.random() < 0.3:
        parts.append(rng.choice(chatter["remarks"]))
    if rng.random() < 0.15:
        parts.append(
            f'<a href="http://photos.invalid/{rng.randint(1, 999)}" rel="nofollow">more &amp; larger</a>'
        )
    if parts and rng.random() < 0.08:
        parts[0] = f"<b>{parts[0]}</b>"
    return title, rng.choice((". ", "\n\n")).join(parts)


def _columns(photo: _Photo, title: str, description: str, scene: Scene, rng: random.Random) -> list[str]:
    taken = datetime(2004, 1, 1) + timedelta(seconds=rng.randrange(10 * 365 * 86400))
    uploaded = taken + timedelta(days=rng.randrange(1, 400))
    licence, licence_link = rng.choice(list(_LICENCES.items()))
    tags = sorted(
        rng.sample([*(scene.subject.names if scene.subject else ()), scene.light, scene.kind, "nikon"], 2)
    )
    located = rng.random() < 0.4
    columns = [
        photo.line,
        photo.photo_id,
        photo.hash,
        photo.user,
        quote_plus(rng.choice(("a. walker", "Zoë", "j_miller", "Öğün"))),
        f"{taken}.0",
        int((uploaded - datetime(1970, 1, 1)).total_seconds()),
        quote_plus(rng.choice(("Canon EOS 350D", "NIKON D70", ""))),
        quote_plus(title),
        quote_plus(description),
        ",".join(quote_plus(tag) for tag in tags),
        "",
        f"{rng.uniform(-180, 180):.6f}" if located else "",
        f"{rng.uniform(-60, 70):.6f}" if located else "",
        rng.randint(10, 16) if located else "",
        f"http://www.flickr.invalid/photos/{photo.user}/{photo.photo_id}/",
        photo.download_link,
        licence,
        licence_link,
        photo.server,
        photo.farm,
        photo.secret,
        f"{rng.getrandbits(40):010x}",
        "mov" if photo.video else "jpg",
        int(photo.video),
    ]
    return [str(column) for column in columns]
