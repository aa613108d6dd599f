"""An architecture's open_clip model configuration, checked without importing open_clip or torch.

So the plan can tell what is wrong with an architecture before anything is downloaded.
"""

import ast
import difflib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cloob.common.errors import InputError, raise_if_io_error

ModelConfig = dict[str, Any]
# Of CLIP's byte-pair tokenizer, with its two marks.
_TOKENS = 49408


def model_config(architecture: str) -> ModelConfig:
    """The open_clip configuration of an architecture.

    `architecture` is a name that open_clip knows (`RN50-quickgelu`) or the path of a JSON file in the same
    form. Raises `InputError` for anything else, and for a configuration that `Encoder` cannot be built with.
    """
    path = Path(architecture) if architecture.endswith(".json") else _open_clip() / f"{architecture}.json"
    if not architecture.endswith(".json") and path not in _known():
        names = [known.stem for known in _known()]
        near = difflib.get_close_matches(architecture, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "give such a name, or a file NAME.json"
        raise InputError(f"{architecture}: no model of open_clip; {hint}")
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise_if_io_error(error, path)
        raise InputError(
            f"{architecture}: {error.strerror}; give a model configuration of open_clip"
        ) from None
    except RecursionError:
        raise InputError(f"{architecture}: not JSON (nested too deeply)") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise InputError(f"{architecture}: not JSON ({error})") from None
    problem = _problem(config)
    if problem:
        raise InputError(f"{architecture}: {problem}")
    return config


def least_micro_batch(config: ModelConfig) -> int:
    """The fewest images over which the BatchNorm layers of an image encoder have statistics in training.

    A ResNet has BatchNorm layers. They need two values per channel, and the feature maps of the last stage
    have 1/32 of the image's side.
    """
    vision = config["vision_cfg"]
    if not isinstance(vision.get("layers"), list):
        return 1
    return 1 if vision["image_size"] // 32 > 1 else 2


def _open_clip() -> Path:
    """The folder of open_clip's model configurations."""
    found = find_spec("open_clip")  # finds the package, does not import it
    if found is None or not found.submodule_search_locations:
        raise InputError("open_clip is not installed here; make the environment with `make .venv/ready`")
    return Path(found.submodule_search_locations[0]) / "model_configs"


@cache
def _known() -> frozenset[Path]:
    return frozenset(_open_clip().glob("*.json"))


@cache
def _parameters() -> dict[str, dict[str, set[str]]]:
    """The keys of a configuration and of its parts, each with the names in its annotation in open_clip."""
    source = _open_clip().with_name("model.py").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    [init] = [node for node in classes["CLIP"].body if getattr(node, "name", "") == "__init__"]
    parts = {"vision_cfg": "CLIPVisionCfg", "text_cfg": "CLIPTextCfg"}
    return {"": {argument.arg: _names(argument.annotation) for argument in init.args.args[1:]}} | {
        part: {
            node.target.id: _names(node.annotation)
            for node in classes[name].body
            if isinstance(node, ast.AnnAssign)
        }
        for part, name in parts.items()
    }


def _names(annotation: ast.expr | None) -> set[str]:
    return {node.id for node in ast.walk(annotation or ast.Tuple([])) if isinstance(node, ast.Name)}


# The types of JSON that annotations name.
_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "bool": ("true or false", (bool,)),
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "str": ("a text", (str,)),
    "dict": ("an object", (dict,)),
}


def _problem_of_types(config: ModelConfig) -> str | None:
    """The first value that is of another type than open_clip declares; null stands for the default."""
    for part, known in _parameters().items():
        for key, value in (config[part] if part else config).items():
            [words, types] = _TYPES.get("".join(known[key] - {"Optional"}), ("", (object,)))
            fits = isinstance(value, types) and (type(value) is not bool or int not in types)
            if value is not None and not fits:
                return f"{f'{part}.{key}'.lstrip('.')} is {value!r:.60}; give {words}"
    return None


def _problem(config: Any) -> str | None:
    """The first thing that is wrong with a configuration, and the remedy."""
    if not isinstance(config, dict):
        return "not a model configuration; give a JSON object with embed_dim, vision_cfg and text_cfg"
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(config.get(part), dict):
            return f"{part} is missing or no JSON object; see config/architectures/ for an example"
    for part, known in _parameters().items():
        for key in config[part] if part else config:
            name = f"{part}.{key}".lstrip(".")
            if key not in known:
                return f"{name} is no key of open_clip's CLIP, which has {', '.join(sorted(known))}"
            if key.startswith(("timm_", "hf_")):
                return f"{name} names a model of another library; only open_clip's own encoders are trained"
    vision, text = config["vision_cfg"], config["text_cfg"]
    resnet = isinstance(vision.get("layers"), list)
    sizes = {"": ["embed_dim"], "text_cfg": ["context_length", "vocab_size", "width", "heads", "layers"]}
    sizes["vision_cfg"] = ["image_size", "width", *([] if resnet else ["layers", "patch_size"])]
    for part, key in [(part, key) for part, keys in sizes.items() for key in keys]:
        name, where = f"{part}.{key}".lstrip("."), config[part] if part else config
        if key not in where:
            return f"{name} is missing; give a whole number from 1"
        if not _is_positive(where[key]):
            return f"{name} is {where[key]!r}; give a whole number from 1"
    if resnet and (len(vision["layers"]) != 4 or not all(map(_is_positive, vision["layers"]))):
        return f"vision_cfg.layers is {vision['layers']!r}; give four whole numbers (a ResNet) or one (a ViT)"
    if text["width"] % text["heads"]:
        return f"text_cfg.heads is {text['heads']}, but has to divide text_cfg.width, {text['width']}"
    if text["vocab_size"] < _TOKENS:
        return f"text_cfg.vocab_size is {text['vocab_size']}, but the tokenizer has {_TOKENS} tokens"
    return _problem_of_types(config) or _problem_of_shape(vision, resnet)


def _problem_of_shape(vision: dict[str, Any], resnet: bool) -> str | None:
    channels = 32 * vision["width"] if resnet else vision["width"]
    head_width = vision.get("head_width", 64)
    if not _is_positive(head_width) or channels < head_width or channels % (channels // head_width):
        return f"vision_cfg.head_width is {head_width!r}, but has to divide the {channels} channels"
    side = vision["image_size"]
    if resnet and (side < 32 or (side + 1) // 2 // 16 != side // 32):
        return f"vision_cfg.image_size is {side}, but has to be a multiple of 32"
    if not resnet and side < vision["patch_size"]:
        return f"vision_cfg.image_size is {side}, less than vision_cfg.patch_size, {vision['patch_size']}"
    return None


def _is_positive(value: Any) -> bool:
    return type(value) is int and value > 0
