"""Images and captions of random scenes."""

import io
import random
from collections import Counter

import pytest
from PIL import Image

from cloob.toy_data.captions import write_caption
from cloob.toy_data.render import encode
from cloob.toy_data.scene import random_scene
from cloob.toy_data.vocabulary import places, species, words

KINDS = ("bird", "flower", "sign", "car", "action", "object")


def test_every_species_and_every_country_can_be_rendered() -> None:
    rng = random.Random(1)
    for kind in KINDS:
        for entry in species(kind):
            scene = random_scene(rng, kind=kind, position=entry.position)
            Image.open(io.BytesIO(encode(scene, "photo"))).load()
    for place in range(len(places())):
        assert encode(random_scene(rng, kind="none", place=place), "photo")


def test_images_vary_in_size_and_aspect_ratio_and_some_are_not_baseline_rgb_jpegs() -> None:
    rng = random.Random(1)
    images = [Image.open(io.BytesIO(encode(random_scene(rng), "photo"))) for _ in range(250)]
    sides = [side for image in images for side in image.size]
    aspect_ratios = [max(image.size) / min(image.size) for image in images]
    assert min(sides) >= 96 and max(sides) <= 360 and max(aspect_ratios) < 3
    assert len({image.size for image in images}) > 100
    forms = Counter((image.format, image.mode, "progressive" in image.info) for image in images)
    assert forms["JPEG", "RGB", False] > 200
    assert {("JPEG", "RGB", True), ("JPEG", "L", False), ("PNG", "RGB", False)} <= forms.keys()


def test_defective_forms_have_the_defect_of_their_name() -> None:
    scene = random_scene(random.Random(1))
    long = Image.open(io.BytesIO(encode(scene, "long")))
    assert max(long.size) > 3 * min(long.size)
    assert max(Image.open(io.BytesIO(encode(scene, "tiny"))).size) < 10
    with pytest.raises((OSError, SyntaxError)):
        Image.open(io.BytesIO(encode(scene, "truncated"))).load()
    assert b"<html>" in encode(scene, "html") and encode(scene, "empty") == b""


def test_no_caption_mentions_all_factors_and_captions_of_a_scene_differ() -> None:
    rng = random.Random(1)
    for _ in range(500):
        scene = random_scene(rng)
        captions = [write_caption(scene, rng) for _ in range(3)]
        assert all(caption.mentioned < scene.factors for caption in captions)
    assert len({write_caption(scene, rng).text for _ in range(20)}) > 5


def test_captions_contain_the_words_of_exactly_the_mentioned_factors() -> None:
    rng = random.Random(1)
    color_words = words()["paints"]["green"]
    for _ in range(100):
        caption = write_caption(random_scene(rng, kind="car", position=0, paint="green"), rng)
        assert ("species" in caption.mentioned) == ("aldera" in caption.text)
        # "dark green" and "green" are the only words for this color.
        assert ("paint" in caption.mentioned) == any(color in caption.text.split() for color in color_words)


def test_places_correlate_with_species_without_being_determined_by_them() -> None:
    rng = random.Random(1)
    counts = Counter(random_scene(rng, kind="bird", position=0).place for _ in range(600))
    assert len(counts) == len(places())
    assert max(counts.values()) > 2 * 600 / len(places())
