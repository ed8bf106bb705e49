"""Draw stills of the bundled world with a caption of their object: what the small CLIP is trained on."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from .render import SCALE, draw_background, draw_object, pose
from .scenes import RESOLUTIONS, SIZES, Event, Scene, describe_object, draw_background_values, draw_path


@dataclass(frozen=True)
class Still:
    """One image and its caption.

    Args:
        image (`PIL.Image.Image`): RGB image of one object on a background.
        caption (`str`): Names the object, but not its motion, which a still does not show.
        event (`Event`): The event from which the still is taken.
    """

    image: Image.Image
    caption: str
    event: Event


def draw_stills(scenes: Iterable[Scene], num_stills: int, seed: int = 0) -> dict[tuple[str, str], list[Still]]:
    """Draw stills of every object, a colour and a shape, that training clips show.

    Only events of training clips are drawn, so what is held out stays held out.

    Args:
        scenes (`Iterable[Scene]`): Scenes of the benchmark; those of train count.
        num_stills (`int`): Stills per object.
        seed (`int`, *optional*, defaults to 0): Seed of all that is drawn.

    Returns:
        `dict[tuple[str, str], list[Still]]`: Colour and shape, in alphabetical order, to `num_stills` stills.
    """
    motions = defaultdict(set)
    for scene in scenes:
        if scene.split == "train":
            for event in scene.events:
                motions[event.color, event.shape].add(event.motion)
    return {
        (color, shape): [
            draw_still(color, shape, sorted(motions[color, shape]), random.Random(f"{seed} {color} {shape} {number}"))
            for number in range(num_stills)
        ]
        for color, shape in sorted(motions)
    }


def draw_still(color: str, shape: str, motions: list[str], rng: random.Random) -> Still:
    """Draw an object at a moment of one of the motions that train shows it in."""
    event = Event(color, shape, rng.choice(SIZES), rng.choice(motions))
    canvas = draw_background(*rng.choice(RESOLUTIONS), *draw_background_values(rng))
    draw_object(canvas, event, *pose(event, rng.random(), *draw_path(rng)))
    return Still(canvas.reduce(SCALE), describe_object(event, rng), event)


__all__ = ["Still", "draw_stills"]
