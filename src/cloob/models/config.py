"""Model configurations in open_clip's form, validated without importing open_clip or torch.

Therefore the workflow can report an invalid architecture before any job runs.
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
# Vocabulary size of CLIP's byte-pair tokenizer, including the start-of-text and end-of-text tokens.
_VOCAB_SIZE = 49408


def model_config(architecture: str) -> ModelConfig:
    """The open_clip configuration of an architecture.

    `architecture` is the name of an open_clip model (`RN50-quickgelu`) or the path of a JSON file in the same
    form. Raises `InputError` for anything else, and if no `CLIPModel` can be built from the configuration.
    """
    is_file = architecture.endswith(".json")
    path = Path(architecture) if is_file else open_clip_config_path(architecture, "a JSON file")
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
    if problem := _problem(config):
        raise InputError(f"{architecture}: {problem}")
    return config


def open_clip_config_path(name: str, alternative: str) -> Path:
    """The configuration file of a model of open_clip.

    Raises `InputError` if open_clip has no such model; `alternative` is what else may be given.
    """
    path = _config_folder() / f"{name}.json"
    if path not in _known_configs():
        names = [known.stem for known in _known_configs()]
        similar = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(similar)}?"
            if similar
            else f"give the name of an open_clip model, or {alternative}"
        )
        raise InputError(f"{name}: not a model of open_clip; {hint}")
    return path


def min_micro_batch_size(config: ModelConfig) -> int:
    """The smallest micro-batch for which BatchNorm statistics are defined in training.

    A ResNet's BatchNorm layers need two values per channel, and the feature maps of its last stage have 1/32
    of the image's side. A ViT has no BatchNorm.
    """
    vision = config["vision_cfg"]
    if not isinstance(vision.get("layers"), list):
        return 1
    return 1 if vision["image_size"] // 32 > 1 else 2


def _config_folder() -> Path:
    """The folder of open_clip's model configurations."""
    package = find_spec("open_clip")  # without importing it
    if package is None or not package.submodule_search_locations:
        raise InputError("open_clip is not installed here; make the environment with `make .venv/ready`")
    return Path(package.submodule_search_locations[0]) / "model_configs"


@cache
def _known_configs() -> frozenset[Path]:
    return frozenset(_config_folder().glob("*.json"))


@cache
def _parameters() -> dict[str, dict[str, set[str]]]:
    """The keys of a configuration and of its parts, with the type names of their annotations in open_clip."""
    source = _config_folder().with_name("model.py").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    [init] = [
        node for node in classes["CLIP"].body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    parts = {"vision_cfg": "CLIPVisionCfg", "text_cfg": "CLIPTextCfg"}
    return {"": {argument.arg: _annotation_names(argument.annotation) for argument in init.args.args[1:]}} | {
        part: {
            node.target.id: _annotation_names(node.annotation)
            for node in classes[name].body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        for part, name in parts.items()
    }


def _annotation_names(annotation: ast.expr | None) -> set[str]:
    return {node.id for node in ast.walk(annotation or ast.Tuple([])) if isinstance(node, ast.Name)}


# Annotation -> how a message describes the JSON type, and the Python types that JSON gives.
_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "bool": ("true or false", (bool,)),
    "int": ("an integer", (int,)),
    "float": ("a number", (int, float)),
    "str": ("a string", (str,)),
    "dict": ("an object", (dict,)),
}


def _type_problem(config: ModelConfig) -> str | None:
    """The first value whose type differs from open_clip's declaration; null means the default."""
    for part, known in _parameters().items():
        for key, value in (config[part] if part else config).items():
            [expected, types] = _TYPES.get("".join(known[key] - {"Optional"}), ("", (object,)))
            fits = isinstance(value, types) and (type(value) is not bool or int not in types)
            if value is not None and not fits:
                return f"{f'{part}.{key}'.lstrip('.')} is {value!r:.60}; give {expected}"
    return None


def _problem(config: Any) -> str | None:
    """The first problem of a configuration, with the remedy."""
    if not isinstance(config, dict):
        return "not a model configuration; give a JSON object with embed_dim, vision_cfg and text_cfg"
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(config.get(part), dict):
            return f"{part} is missing or not a JSON object; see config/architectures/ for an example"
    for part, known in _parameters().items():
        for key in config[part] if part else config:
            name = f"{part}.{key}".lstrip(".")
            if key not in known:
                return f"{name} is not a key of open_clip's CLIP; the keys are {', '.join(sorted(known))}"
            if key.startswith(("timm_", "hf_")):
                return f"{name} refers to a model of another library; only open_clip's own can be trained"
    vision, text = config["vision_cfg"], config["text_cfg"]
    resnet = isinstance(vision.get("layers"), list)
    sizes = {"": ["embed_dim"], "text_cfg": ["context_length", "vocab_size", "width", "heads", "layers"]}
    sizes["vision_cfg"] = ["image_size", "width", *([] if resnet else ["layers", "patch_size"])]
    for part, key in [(part, key) for part, keys in sizes.items() for key in keys]:
        name, section = f"{part}.{key}".lstrip("."), config[part] if part else config
        if key not in section:
            return f"{name} is missing; give a positive integer"
        if not _is_positive(section[key]):
            return f"{name} is {section[key]!r}; give a positive integer"
    if resnet and (len(vision["layers"]) != 4 or not all(map(_is_positive, vision["layers"]))):
        return f"vision_cfg.layers is {vision['layers']!r}; give four integers (ResNet) or one (ViT)"
    if text["width"] % text["heads"]:
        return f"text_cfg.heads is {text['heads']}, but must divide text_cfg.width, {text['width']}"
    if text["vocab_size"] < _VOCAB_SIZE:
        return f"text_cfg.vocab_size is {text['vocab_size']}, but the tokenizer has {_VOCAB_SIZE} tokens"
    return _type_problem(config) or _value_problem(config, resnet) or _shape_problem(vision, resnet)


# The values that `CLIPModel` computes with, of the keys for which open_clip's own CLIP has others.
_VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "": {"output_dict": (False,)},
    "vision_cfg": {
        "output_tokens": (False,),
        "pool_type": ("tok", "avg"),
        "pos_embed_type": ("learnable", "sin_cos_2d"),
        "scaled_cosine_attn": (False,),  # fails in open_clip, too
    },
    "text_cfg": {
        "embed_cls": (False,),
        "no_causal_mask": (False,),
        "pool_type": ("argmax",),
        "proj_bias": (False,),
        "proj_type": ("linear",),
        "scaled_cosine_attn": (False,),
        "tokenizer_kwargs": ({},),
    },
}


def _value_problem(config: ModelConfig, resnet: bool) -> str | None:
    """The first value with which an export would compute other embeddings than `CLIPModel`, or fail."""
    for part, known in _VALUES.items():
        for key, values in known.items() if not (resnet and part == "vision_cfg") else ():
            value = (config[part] if part else config).get(key, values[0])
            if value not in values and (value or values[0]):  # null is false
                listed = " or ".join(map(json.dumps, values))
                return (
                    f"{f'{part}.{key}'.lstrip('.')} is {value!r:.60}, which is not supported; give {listed}"
                )
    return None


def _shape_problem(vision: dict[str, Any], resnet: bool) -> str | None:
    channels = 32 * vision["width"] if resnet else vision["width"]
    head_width = vision.get("head_width", 64)
    if not _is_positive(head_width) or channels < head_width or channels % (channels // head_width):
        return f"vision_cfg.head_width is {head_width!r}, but must divide the {channels} channels"
    side = vision["image_size"]
    if resnet and (side < 32 or (side + 1) // 2 // 16 != side // 32):
        return f"vision_cfg.image_size is {side}, but must be a multiple of 32"
    if not resnet and side < vision["patch_size"]:
        return f"vision_cfg.image_size is {side}, less than vision_cfg.patch_size, {vision['patch_size']}"
    return None


def _is_positive(value: Any) -> bool:
    return type(value) is int and value > 0
