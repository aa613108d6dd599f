"""Their evaluation and data functions beside ours, on the same inputs."""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.parity.authors import copy_state
from benchmarks.parity.batches import AUTHORS_CONFIG, OPEN_CLIP_CONFIG, make_batches
from cloob.evaluate.protocols.zeroshot import class_weights
from cloob.evaluate.testsets.spec import TestSetSpec, load_spec
from cloob.metrics.retrieval import retrieval_metrics
from cloob.models.clip import CLIPModel, build_model
from cloob.models.preprocessing import evaluation_transform
from cloob.models.tokenizer import tokenizer_for
from cloob.shards.captions import normalize_caption
from cloob.train.augmentation import RandomResizedCrop

DATASETS = Path(__file__).parents[2] / "config" / "datasets"
TEST_SETS = ("birdsnap", "country211", "flowers102", "gtsrb", "imagenet", "stanford_cars", "ucf101")
# Contractions, entities, accents, broken encodings, scripts, emoji with joiners, digits, control characters.
TEXTS = (
    "It's Bob's dog; they'll see we've won &amp; lost &lt;b&gt; &amp;amp;",
    "cafe\u0301 na\u00efve \u00c3\u00a9t\u00c3\u00a9 STRASSE straße ﬁne Ⅷ x² ½",
    "日本語のキャプション 한국어 عربى עברית हिन्दी",
    "👩‍👩‍👧 🇦🇹 🏳️‍🌈 ☃️",
    "tab\there\nand\r\nthere\u00a0nbsp\u2028line \u200bzero",
    "1234567890 3.14 1,000 $5 50% #tag @user http://x.org/a?b=c&d=e",
    "<start_of_text> a <end_of_text> dog",
    "",
)
PHOTO_SIZES = ((375, 500), (500, 375), (224, 224), (300, 512), (171, 512), (64, 80))


def compare_evaluation(modules: types.SimpleNamespace, folder: Path) -> None:
    """Write `evaluation.json`: rows of (what, on what, difference)."""
    rows = [
        *_prompts(modules),
        *_tokenizer(modules),
        *_long_captions(modules),
        *_transforms(modules),
        _training_crop(modules),
        *_zeroshot(modules),
        *_retrieval(modules),
        *_initialization(modules),
    ]
    (folder / "evaluation.json").write_text(json.dumps(rows), encoding="utf-8")


Row = tuple[str, str, str]


def _specs() -> dict[str, TestSetSpec]:
    return {name: load_spec(DATASETS / f"{name}.yaml") for name in TEST_SETS}


def _prompts(modules: types.SimpleNamespace) -> Iterator[Row]:
    for part in ("class names", "prompts"):
        differing, total = [], 0
        for name, spec in _specs().items():
            if part == "prompts":
                theirs = [template("{}") for template in getattr(modules.zeroshot_data, f"{name}_templates")]
                ours = spec.prompt_templates()
            else:
                theirs = list(getattr(modules.zeroshot_data, f"{name}_classnames"))
                ours = spec.class_names(Path())
            total += len(theirs)
            if theirs != ours:
                pairs = [(a, b) for a, b in zip(theirs, ours, strict=False) if a != b]
                differing.append(f"{name}: {len(pairs)}, such as {pairs[0]}" if pairs else f"{name}: number")
        yield f"zero-shot {part}", f"{total:,} of 7 test sets", "; ".join(differing) or "none"


def _texts(modules: types.SimpleNamespace) -> list[str]:
    captions = [caption for _, batch in make_batches(20, 32) for caption in batch]
    prompts = [
        template.format(name)
        for dataset in _specs().values()
        for template in dataset.prompt_templates()
        for name in list(getattr(modules.zeroshot_data, f"{dataset.name}_classnames"))[::10]
    ]
    return [*captions, *prompts, *TEXTS]


def _tokenizer(modules: types.SimpleNamespace) -> Iterator[Row]:
    texts = _texts(modules)
    ours = tokenizer_for(OPEN_CLIP_CONFIG)
    for name, prepare in (("tokens", str), ("tokens of captions as packed", normalize_caption)):
        differing = []
        for text in texts:
            theirs, tokens = modules.clip.tokenize([text])[0], ours([prepare(text)])[0]
            if not torch.equal(theirs, F.pad(tokens, (0, len(theirs) - len(tokens)))):
                differing.append(text)
        listed = f"{len(differing)} differ, such as {differing[0]!r}" if differing else "none"
        yield name, f"{len(texts):,} texts", listed


def _models(modules: types.SimpleNamespace) -> tuple[Any, CLIPModel]:
    """The small model with the same weights in both projects, in evaluation mode."""
    theirs = modules.model.CLIPGeneral(**AUTHORS_CONFIG, seed=1).eval()
    ours = build_model(OPEN_CLIP_CONFIG)
    ours.load_state_dict(copy_state(theirs))
    return theirs, ours.eval()


@torch.inference_mode()
def _long_captions(modules: types.SimpleNamespace) -> Iterator[Row]:
    """Captions of more tokens than the context: 40 of different words."""
    theirs, ours = _models(modules)
    words = sorted({word for text in _texts(modules) for word in text.split() if word.isalpha()})
    generator = np.random.default_rng(0)
    captions = [" ".join(generator.choice(words, 100)) for _ in range(40)]
    tokenize = tokenizer_for(OPEN_CLIP_CONFIG)
    embeddings = {
        "theirs": theirs.encode_text(modules.clip.tokenize(captions)),
        "ours": ours.encode_text(tokenize(captions)),
    }
    for name, embedding in embeddings.items():
        yield (
            f"captions longer than the context, {name}",
            "40 captions of 100 words",
            f"{count_distinct(embedding)} distinct embeddings",
        )


def count_distinct(embeddings: Tensor) -> int:
    """The number of directions (N, d) that are not equal, up to rounding, to one before them."""
    unit = F.normalize(embeddings, dim=1)
    is_equal = unit @ unit.T >= 1 - 1e-6
    return int((~is_equal.tril(-1).any(dim=1)).sum())


def _photos() -> list[Image.Image]:
    """Smooth images with edges and noise, in the shapes of web images."""
    generator = np.random.default_rng(0)
    photos = []
    for height, width in PHOTO_SIZES:
        coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        noisy = smooth + generator.integers(-8, 9, smooth.shape)
        photos.append(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)))
    return photos


def _gray_levels(theirs: Tensor, ours: Tensor) -> str:
    """The difference of standardized pixels, in units of 1/255 of the red channel's range."""
    difference = (theirs - ours).abs() * 0.26862954 * 255
    return f"mean {difference.mean():.2g}, largest {difference.max():.2g} gray levels"


def _transforms(modules: types.SimpleNamespace) -> Iterator[Row]:
    config = OPEN_CLIP_CONFIG | {"vision_cfg": OPEN_CLIP_CONFIG["vision_cfg"] | {"image_size": 224}}
    theirs, ours = modules.clip._transform(224, is_train=False), evaluation_transform(config)
    photos = _photos()
    modes = {"RGB": photos, "grayscale": [photo.convert("L") for photo in photos]}
    modes["CMYK"] = [photo.convert("CMYK") for photo in photos]
    modes["palette"] = [photo.convert("P", palette=Image.Palette.ADAPTIVE) for photo in photos]
    for mode, images in modes.items():
        pairs = [(theirs(image), ours(image)) for image in images]
        stacked = [torch.cat([pair[side].flatten() for pair in pairs]) for side in (0, 1)]
        yield (
            f"evaluation transform, {mode} images",
            f"{len(images)} images at 224 pixels",
            _gray_levels(*stacked),
        )


def _training_crop(modules: types.SimpleNamespace) -> Row:
    """The same boxes, cropped and resized by their transform (Pillow) and by ours."""
    transform = modules.clip._transform(224, is_train=True)
    crop = RandomResizedCrop(224, (0.9, 1.0), seed=1)
    differences = []
    for index, photo in enumerate(_photos()):
        box = crop.box(photo.height, photo.width, (0, index))
        transform.transforms[0].get_params = lambda *_, box=box: box
        theirs = transform.transforms[0](photo)
        pixels = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)
        ours = crop(pixels, (0, index)).permute(1, 2, 0).numpy()
        differences.append(np.abs(np.asarray(theirs).astype(int) - ours.astype(int)).ravel())
    levels = np.concatenate(differences)
    listed = f"mean {levels.mean():.2g}, largest {levels.max()} gray levels"
    return "training crop of the same box", f"{len(PHOTO_SIZES)} images at 224 pixels", listed


@torch.inference_mode()
def _zeroshot(modules: types.SimpleNamespace) -> Iterator[Row]:
    theirs, ours = _models(modules)
    spec = _specs()["gtsrb"]
    names, data = spec.class_names(Path()), modules.zeroshot_data
    args = types.SimpleNamespace(gpu="cpu", distributed=False, dp=False)
    expected = modules.zero_shot.zero_shot_classifier(theirs, names, data.gtsrb_templates, args)
    weights = class_weights(ours, tokenizer_for(OPEN_CLIP_CONFIG), names, spec.prompt_templates())
    yield (
        "zero-shot class weights",
        f"{len(names)} classes",
        f"largest {(expected - weights).abs().max():.1g}",
    )
    pixels = torch.from_numpy(np.concatenate([batch[0] for batch in make_batches(8, 32)]))
    images = pixels.permute(0, 3, 1, 2).float() / 255
    labels = torch.arange(len(images)) % len(names)
    top1, top5 = modules.zero_shot.run(theirs, expected, [(images, labels)], args)
    logits = ours.encode_image(images, normalize=True) @ weights
    ranks = (logits > logits.gather(1, labels[:, None])).sum(dim=1)
    accuracies = [(ranks < k).double().mean().item() for k in (1, 5)]
    difference = max(abs(a - b) for a, b in zip((top1, top5), accuracies, strict=True))
    yield "zero-shot top-1 and top-5 accuracy", f"{len(images)} images", f"largest {difference:.1g}"


def _retrieval(modules: types.SimpleNamespace) -> Iterator[Row]:
    """On random embeddings of different numbers of pairs: their median is rounded down."""
    medians, others, tried = [], 0.0, 200
    for seed in range(tried):
        generator = torch.Generator().manual_seed(seed)
        image, text = F.normalize(torch.randn(2, 100, 32, generator=generator), dim=2)
        text = F.normalize(text + 0.5 * image, dim=1)
        theirs, ours = modules.train.get_metrics(image, text), retrieval_metrics(image, text)
        for direction in ("image_to_text", "text_to_image"):
            medians.append(ours[f"{direction}_median_rank"] - theirs[f"{direction}_median_rank"])
            for name in ("mean_rank", "R@1", "R@5", "R@10"):
                our_name = f"{direction}_{name.replace('R@', 'r')}"
                others = max(others, abs(theirs[f"{direction}_{name}"] - ours[our_name]))
    on = f"{tried} sets of 100 pairs"
    yield "recall and mean rank", on, f"largest {others:.1g}"
    higher = np.count_nonzero(medians)
    yield "median rank", on, f"ours is 0.5 higher in {higher} of {len(medians)}; largest {max(medians):g}"


def _initialization(modules: types.SimpleNamespace) -> Iterator[Row]:
    """Standard deviations of the initial weights, and the rounding of theirs to float16."""
    theirs = modules.model.CLIPGeneral(**AUTHORS_CONFIG, seed=1)
    exact = copy_state(theirs)
    modules.model.convert_weights(theirs)
    rounded = copy_state(theirs)
    torch.manual_seed(1)
    ours = build_model(OPEN_CLIP_CONFIG).state_dict()
    ratios = {
        name: (ours[name].std() / value.std()).item()
        for name, value in exact.items()
        if value.is_floating_point() and value.numel() >= 4096 and value.std() > 0
    }
    worst = max(ratios, key=lambda name: abs(np.log(ratios[name])))
    listed = f"standard deviations within {100 * abs(ratios[worst] - 1):.1f}%"
    yield "initial weights", f"{len(ratios)} tensors of at least 4,096 weights", listed
    names = [name for name, value in rounded.items() if value.dtype == torch.float16]
    before, after = (
        torch.cat([state[name].flatten().float() for name in names]) for state in (exact, rounded)
    )
    relative = ((after - before).norm() / before.norm()).item()
    yield "initial weights rounded to float16 by theirs", f"{len(names)} tensors", f"relative {relative:.1g}"
    constants = [
        name for name, value in exact.items() if name in ours and value.numel() > 1 and value.std() == 0
    ]
    differing = [name for name in constants if not torch.equal(ours[name], exact[name])]
    yield "constant initial weights", f"{len(constants)} tensors", ", ".join(differing) or "none"
