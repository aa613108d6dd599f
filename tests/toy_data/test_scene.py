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


def test_every_species_and_every_country_can_be_painted() -> None:
    rng = random.Random(1)
    for kind in KINDS:
        for one in species(kind):
            picture = Image.open(
                io.BytesIO(encode(random_scene(rng, kind=kind, position=one.position), "photo"))
            )
            picture.load()
    for place in range(len(places())):
        assert encode(random_scene(rng, kind="none", place=place), "photo")


def test_pictures_differ_in_size_and_shape_and_a_few_are_not_plain_jpegs() -> None:
    rng = random.Random(1)
    pictures = [Image.open(io.BytesIO(encode(random_scene(rng), "photo"))) for _ in range(250)]
    sides = [side for picture in pictures for side in picture.size]
    aspects = [max(picture.size) / min(picture.size) for picture in pictures]
    assert min(sides) >= 96 and max(sides) <= 360 and max(aspects) < 3
    assert len({picture.size for picture in pictures}) > 100
    forms = Counter((picture.format, picture.mode, "progressive" in picture.info) for picture in pictures)
    assert forms["JPEG", "RGB", False] > 200
    assert {("JPEG", "RGB", True), ("JPEG", "L", False), ("PNG", "RGB", False)} <= forms.keys()


def test_long_tiny_and_truncated_pictures_are_what_they_are_called() -> None:
    scene = random_scene(random.Random(1))
    long = Image.open(io.BytesIO(encode(scene, "long")))
    assert max(long.size) > 3 * min(long.size)
    assert max(Image.open(io.BytesIO(encode(scene, "tiny"))).size) < 10
    with pytest.raises((OSError, SyntaxError)):
        Image.open(io.BytesIO(encode(scene, "truncated"))).load()
    assert b"<html>" in encode(scene, "html") and encode(scene, "empty") == b""


def test_no_caption_names_everything_and_captions_of_one_scene_differ() -> None:
    rng = random.Random(1)
    for _ in range(500):
        scene = random_scene(rng)
        captions = [write_caption(scene, rng) for _ in range(3)]
        assert all(caption.named < scene.factors for caption in captions)
    assert len({write_caption(scene, rng).text for _ in range(20)}) > 5


def test_a_named_factor_stands_in_the_caption_and_an_unnamed_one_does_not() -> None:
    rng = random.Random(1)
    colours = words()["paints"]["green"]
    for _ in range(100):
        caption = write_caption(random_scene(rng, kind="car", position=0, paint="green"), rng)
        assert ("species" in caption.named) == ("aldera" in caption.text)
        # "dark green" and "green" are the only words of this colour.
        assert ("paint" in caption.named) == any(colour in caption.text.split() for colour in colours)


def test_factors_go_together_but_none_decides_another() -> None:
    rng = random.Random(1)
    met = Counter(random_scene(rng, kind="bird", position=0).place for _ in range(600))
    assert len(met) == len(places())
    assert max(met.values()) > 2 * 600 / len(places())
