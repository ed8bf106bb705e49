"""Stills of the bundled world: what they show, and that nothing held out is among them."""

import numpy as np
import pytest

from drl_tvr.data.moving_shapes.render import COLOR_VALUES
from drl_tvr.data.moving_shapes.scenes import COLORS, SHAPES, make_scenes
from drl_tvr.data.moving_shapes.stills import draw_stills
from drl_tvr.data.moving_shapes.words import COLOR_WORDS, MOTION_WORDS, SHAPE_WORDS


@pytest.fixture(scope="module")
def stills():
    return draw_stills(make_scenes(), num_stills=3)


def test_every_object_has_as_many_stills(stills):
    assert sorted(stills) == sorted((color, shape) for color in COLORS for shape in SHAPES)
    assert {len(of_object) for of_object in stills.values()} == {3}


def test_only_events_of_training_clips_are_drawn(stills):
    shown = {event.triple for scene in make_scenes() if scene.split == "train" for event in scene.events}
    assert {still.event.triple for of_object in stills.values() for still in of_object} <= shown


def test_a_caption_names_the_object_and_no_motion(stills):
    motions = {phrase for phrases in MOTION_WORDS.values() for phrase in phrases}
    for (color, shape), of_object in stills.items():
        for still in of_object:
            assert any(word in still.caption for word in COLOR_WORDS[color])
            assert any(word in still.caption for word in SHAPE_WORDS[shape])
            assert not any(phrase in still.caption for phrase in motions)


def test_an_image_shows_the_color(stills):
    for (color, _), of_object in stills.items():
        for still in of_object:
            distance = np.abs(np.asarray(still.image, dtype=int) - COLOR_VALUES[color]).max(axis=-1)
            assert (distance < 10).mean() > 0.01


def test_the_same_seed_draws_the_same(stills):
    (first,), (again,), (other,) = (
        draw_stills(make_scenes(), num_stills=1, seed=seed)["red", "star"] for seed in (0, 0, 1)
    )
    assert first == again == stills["red", "star"][0]
    assert np.asarray(first.image).shape != np.asarray(other.image).shape or first != other
