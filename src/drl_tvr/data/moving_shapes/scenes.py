"""Draw the scenes of the bundled benchmark from one seed: attributes, events, splits and captions."""

import random
from dataclasses import dataclass


COLORS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ("small", "big")
MOTIONS = ("left", "right", "up", "down", "spin", "grow", "shrink")

COLOR_WORDS = {
    "red": ("red", "crimson"),
    "green": ("green", "emerald"),
    "blue": ("blue", "azure"),
    "yellow": ("yellow", "golden"),
    "purple": ("purple", "violet"),
    "white": ("white", "snowy"),
}
SHAPE_WORDS = {
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus sign"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "big": ("big", "large", "huge")}
MOTION_WORDS = {
    "left": ("slides left", "moves to the left", "drifts left"),
    "right": ("slides right", "moves to the right", "drifts right"),
    "up": ("rises", "goes up", "climbs"),
    "down": ("falls", "goes down", "sinks"),
    "spin": ("spins", "rotates", "turns around"),
    "grow": ("grows", "gets bigger", "expands"),
    "shrink": ("shrinks", "gets smaller", "contracts"),
}
OPENINGS = ("", "", "", "", "here ", "in this video ", "we can see that ", "a clip in which ", "at first ")
JOINTS = (" then ", ", then ", ", after that ", " and then ", ", followed by this: ", ", and next ")
ENDINGS = ("", "", "", "", " on a plain background", " slowly", " in a short animation", " while nothing else happens")

# A circle looks the same at every angle, so it never spins.
TRIPLES = tuple((c, s, m) for c in COLORS for s in SHAPES for m in MOTIONS if (s, m) != ("circle", "spin"))


@dataclass(frozen=True)
class Event:
    """One object that moves in one way.

    Args:
        color (`str`): One of `COLORS`.
        shape (`str`): One of `SHAPES`.
        size (`str`): One of `SIZES`.
        motion (`str`): One of `MOTIONS`.
    """

    color: str
    shape: str
    size: str
    motion: str

    @property
    def triple(self) -> tuple[str, str, str]:
        """Colour, shape and motion."""
        return (self.color, self.shape, self.motion)


@dataclass(frozen=True)
class Scene:
    """One clip before it is drawn.

    Args:
        video_id (`str`): Name of the clip; it is independent of the content.
        split (`str`): `"train"`, `"validation"` or `"test"`.
        events (`tuple[Event]`): One to three events, in order of time.
        captions (`tuple[str]`): Sentences that describe the events.
        twin (`str`, *optional*): Name of the clip of the same split with the same events in the other order.
    """

    video_id: str
    split: str
    events: tuple[Event, ...]
    captions: tuple[str, ...]
    twin: str | None = None


def describe_object(event: Event, rng: random.Random) -> str:
    """Write a noun phrase that names the object of an event, in words that vary."""
    # In "a small circle shrinks" the size could be that of its start or its end, so it is not named.
    names_size = event.motion not in ("grow", "shrink") and rng.random() < 0.5
    words = [rng.choice(SIZE_WORDS[event.size])] if names_size else []
    words += [rng.choice(COLOR_WORDS[event.color]), rng.choice(SHAPE_WORDS[event.shape])]
    article = "an" if words[0][0] in "aeiou" else "a"
    return f"{article} {' '.join(words)}"


def describe(events: tuple[Event, ...], rng: random.Random) -> str:
    """Write a sentence that names `events` in their order, in words that vary."""
    phrases = [f"{describe_object(event, rng)} {rng.choice(MOTION_WORDS[event.motion])}" for event in events]
    sentence = phrases[0]
    for phrase in phrases[1:]:
        sentence += rng.choice(JOINTS) + phrase
    return rng.choice(OPENINGS) + sentence + rng.choice(ENDINGS)


def split_triples(rng: random.Random) -> dict[str, list[tuple[str, str, str]]]:
    """Give each triple of colour, shape and motion to one split, so that train never shows what a test clip shows.

    Every colour, every shape and every motion still occurs in every split.
    """
    triples = list(TRIPLES)
    while True:
        rng.shuffle(triples)
        num_test, num_validation = len(triples) // 4, len(triples) // 8
        parts = {
            "test": triples[:num_test],
            "validation": triples[num_test : num_test + num_validation],
            "train": triples[num_test + num_validation :],
        }
        if all(covers_every_value(part) for part in parts.values()):
            return parts


def covers_every_value(triples: list[tuple[str, str, str]]) -> bool:
    """Return whether every colour, every shape and every motion occurs."""
    found = [set(values) for values in zip(*triples, strict=True)]
    return found == [set(COLORS), set(SHAPES), set(MOTIONS)]


def draw_events(triples: list[tuple[str, str, str]], count: int, rng: random.Random) -> tuple[Event, ...]:
    """Draw `count` events whose neighbours differ in colour and shape."""
    events = []
    while len(events) < count:
        color, shape, motion = rng.choice(triples)
        if events and (events[-1].color == color or events[-1].shape == shape):
            continue
        events.append(Event(color, shape, rng.choice(SIZES), motion))
    return tuple(events)


def make_split(
    split: str, first: int, num_clips: int, num_pairs: int, num_captions: int, triples: list, rng: random.Random
) -> list[Scene]:
    """Make the clips `first`, `first` + 1, ... of one split; `num_pairs` pairs of them are order-swapped twins.

    No two validation or test clips show the same sequence of colours, shapes and motions, so a perfect model finds
    every clip whether or not a caption names the sizes. Train clips may repeat a sequence, since half of them show a
    single event.
    """
    sequences: list[tuple[Event, ...]] = []
    seen = set()

    def add(*candidates: tuple[Event, ...]) -> None:
        keys = [tuple(event.triple for event in events) for events in candidates]
        if split == "train" or not seen.intersection(keys):
            seen.update(keys)
            sequences.extend(candidates)

    while len(sequences) < 2 * num_pairs:
        events = draw_events(triples, 2, rng)
        add(events, events[::-1])
    while len(sequences) < num_clips:
        shares = (5, 3, 2) if split == "train" else (2, 4, 4)
        add(draw_events(triples, rng.choices((1, 2, 3), shares)[0], rng))

    numbers = list(range(first, first + num_clips))
    rng.shuffle(numbers)  # so that the names of twins are not neighbours
    twins: dict[int, int] = {}
    for first_of_pair in range(0, 2 * num_pairs, 2):
        twins[first_of_pair], twins[first_of_pair + 1] = first_of_pair + 1, first_of_pair
    scenes = []
    for index, events in enumerate(sequences):
        twin = f"video{numbers[twins[index]]}" if index in twins else None
        captions: dict[str, None] = {}
        while len(captions) < num_captions:
            captions[describe(events, rng)] = None
        scenes.append(Scene(f"video{numbers[index]}", split, events, tuple(captions), twin))
    return scenes


def make_scenes(seed: int = 0, num_train: int = 3400, num_validation: int = 200, num_test: int = 300) -> list[Scene]:
    """Make all scenes of the benchmark: the same list for the same arguments, on any machine.

    Args:
        seed (`int`, *optional*, defaults to 0): Seed of everything that is drawn.
        num_train, num_validation, num_test (`int`, *optional*, defaults to 3400, 200 and 300): Clips of each split.
            In validation and test, 40 % of the clips are order-swapped twins of one another.

    Returns:
        `list[Scene]`: The scenes, `video0` first, with six captions each in train and one in validation and test.

    Example:

    ```python
    >>> from drl_tvr.data.moving_shapes.scenes import make_scenes

    >>> scenes = make_scenes(num_train=2, num_validation=1, num_test=5)
    >>> [(scene.video_id, scene.split, len(scene.captions)) for scene in scenes[:3]]
    [('video0', 'train', 6), ('video1', 'train', 6), ('video2', 'validation', 1)]
    ```
    """
    rng = random.Random(seed)
    triples = split_triples(rng)
    scenes = []
    for split, num_clips, num_captions in (
        ("train", num_train, 6),
        ("validation", num_validation, 1),
        ("test", num_test, 1),
    ):
        num_pairs = 0 if split == "train" else num_clips // 5
        scenes += make_split(split, len(scenes), num_clips, num_pairs, num_captions, triples[split], rng)
    return sorted(scenes, key=lambda scene: int(scene.video_id.removeprefix("video")))
