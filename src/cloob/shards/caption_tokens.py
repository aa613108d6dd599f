"""Whether a caption has more tokens than a text encoder reads. Imports no torch."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

# Tokens that CLIP's text encoders read, among them the start-of-text and the end-of-text token.
CONTEXT_LENGTH = 77
_MAX_TOKENS = CONTEXT_LENGTH - 2
# The tokenizer's cleaning can lengthen a text that is not plain ASCII, in UTF-8 at most by the factors 1.2
# (HTML entities: &nGt;), 3 (Unicode normalization) and 1.5 (lower case): 5.4 in all.
_MAX_GROWTH = 6


def exceeds_context(caption: str) -> bool:
    """Whether CLIP's tokenizer truncates the caption, by open_clip's own tokenizer.

    A token has at least one byte of the text, so that most captions need not be tokenized.
    """
    if caption.isascii() and "&" not in caption:
        most_tokens = len(caption) - caption.count(" ")
    else:
        most_tokens = _MAX_GROWTH * len(caption.encode())
    return most_tokens > _MAX_TOKENS and len(_encoder()(caption)) > _MAX_TOKENS


@cache
def _encoder() -> Callable[[str], Sequence[int]]:
    """A text -> its tokens, without start and end: open_clip's tokenizer.

    `import open_clip` would import torch in every process that packs (300 MB, two seconds). Its tokenizer
    needs torch only to return tensors, so the module is loaded alone, with a placeholder for torch.
    """
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).with_name("tokenizer.py")
    spec = importlib.util.spec_from_file_location("cloob_open_clip_tokenizer", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    is_placeholder = "torch" not in sys.modules
    if is_placeholder:
        placeholder = ModuleType("torch")
        vars(placeholder).update(Tensor=object, LongTensor=object)  # for its annotations
        sys.modules["torch"] = placeholder
    try:
        spec.loader.exec_module(module)
    finally:
        if is_placeholder:
            del sys.modules["torch"]
    return module.SimpleTokenizer().encode
