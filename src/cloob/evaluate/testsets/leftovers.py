"""Leftover files and folders in a test set, created by desktops, notebooks, archivers and file servers."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

# In lower case. Names that start with a dot are hidden anyway; these folders hold copies of images.
_NAMES = {
    "__macosx",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "@eadir",
    "@tmp",
    "#recycle",
    "@recycle",
    "@recently-snapshot",
}
_KNOWN_HIDDEN = {".ipynb_checkpoints", ".git", ".thumbnails", ".xvpics", ".appledouble", ".idea", ".dvc"}
_INCOMPLETE = (".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".temp", ".swp", "~")


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is neither a class nor an image of a test set."""
    lower = name.lower()
    return name.startswith(".") or lower in _NAMES or lower.endswith(_INCOMPLETE)


def may_hide_images(name: str, is_folder: bool) -> bool:
    """Whether a leftover may stand for missing images: an incomplete copy, or an unknown hidden folder."""
    lower = name.lower()
    if lower in _NAMES or lower in _KNOWN_HIDDEN:
        return False
    return is_folder or (lower.endswith(_INCOMPLETE) and not name.startswith("."))


def unusual_names(names: Collection[str]) -> list[str]:
    """Names whose form differs from the majority's: `1 (2).jpg` among `17.jpg`, `notes` among `n01440764`."""
    forms = Counter(map(_form, names))
    if len(forms) < 2:
        return []
    (usual, count), *_ = forms.most_common(1)
    return sorted(name for name in names if _form(name) != usual) if 2 * count > len(names) else []


def abbreviated(names: Iterable[str], limit: int = 3) -> str:
    """The first few names, for a message."""
    names = list(names)
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(repr, names[:limit])) + more


def _form(name: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", name))
