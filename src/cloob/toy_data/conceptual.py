"""Conceptual Captions as the small world has it: `caption<TAB>link`, no header, good rows and bad ones."""

import random
from typing import Any

from cloob.toy_data.captions import write_caption
from cloob.toy_data.faults import CC_KINDS, CLOSED_PORT, DEAD_HOST, deal, ledger
from cloob.toy_data.render import ImageFile
from cloob.toy_data.scene import random_scene
from cloob.toy_data.vocabulary import words

LISTS = {"train": "Train_GCC-training.tsv", "validation": "Validation_GCC-1.1.0-Validation.tsv"}
# Kinds of row behind which there is a picture, and kinds whose file has a form of its own (`encode`).
_PICTURED = (
    "good",
    "good_redirected",
    "good_odd_link",
    "good_query",
    "good_foreign_caption",
    "empty_caption",
    "ftp_link",
)
_FORMED = ("empty", "html", "truncated", "tiny", "long")


def conceptual_list(
    seed: int, split: str, rows: int, port: int
) -> tuple[str, list[ImageFile], dict[str, Any]]:
    """The text of one split's list, the images behind it (paths below the served folder), and its ledger."""
    rng = random.Random(f"{seed}/cc3m/{split}")
    host = f"http://127.0.0.1:{port}"
    lines, images, good = [], [], []
    dealt = deal(CC_KINDS, rows, rng)
    for number, kind in enumerate(dealt):
        scene = random_scene(rng)
        caption = write_caption(scene, rng).text
        path = f"cc3m/{split}/{number:06d}.jpg"
        if kind == "good_odd_link":
            path = f"cc3m/{split}/{number:06d} {rng.choice(('café blå', 'Grüße', '写真 1'))}.jpg"
        if kind in _PICTURED or kind in _FORMED:
            images.append(ImageFile(path, scene, kind if kind in _FORMED else "photo"))
        if kind == "good_foreign_caption":
            caption = f"{caption} {rng.choice(words()['chatter']['foreign'])}"
        link = rng.choice(good) if kind == "duplicate_link" else _link(kind, host, path, number, rng)
        if kind == "good":
            good.append(link)
        lines.append(_line(kind, caption, link))
    return "".join(f"{line}\n" for line in lines), images, ledger(CC_KINDS, dealt)


def _line(kind: str, caption: str, link: str) -> str:
    if kind == "missing_tab":
        return f"{caption} {link}"
    return f"{'' if kind == 'empty_caption' else caption}\t{link}"


def _link(kind: str, host: str, path: str, number: int, rng: random.Random) -> str:
    links = {
        "good_redirected": f"{host}/redirect/{path}",
        "good_query": f"{host}/{path}?w={rng.randint(200, 900)}&fit=crop",
        "empty_link": "",
        "not_a_link": rng.choice(("image unavailable", "www", "/" + path)),
        "ftp_link": f"ftp://127.0.0.1/{path}",
        "dead_host": f"http://{DEAD_HOST.format(rng.randint(1, 40))}/{path}",
        "refused_connection": f"http://127.0.0.1:{CLOSED_PORT}/{path}",
        "timeout": f"{host}/stall/{path}",
        "redirect_loop": f"{host}/loop/{number}",
    }
    return links.get(kind, f"{host}/{path}")
