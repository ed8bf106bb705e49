"""Draw the scenes of the bundled benchmark from one seed: attributes, events, splits, captions and times."""

import random
from dataclasses import dataclass, replace

from .dials import check_kind, check_share
from .words import COLOR_WORDS, ENDINGS, FILLER_WORDS, JOINTS, MOTION_WORDS, OPENINGS, SHAPE_WORDS, SIZE_WORDS


COLORS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross")
SIZES = ("small", "big")
MOTIONS = ("left", "right", "up", "down", "spin", "grow", "shrink")

RESOLUTIONS = ((96, 96), (128, 96), (96, 128), (160, 96), (144, 112), (112, 144))
FRAME_RATES = (8, 10, 12, 15)

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


def insert_fillers(caption: str, share: float, rng: random.Random) -> str:
    """Insert filler words at random places between the words of a caption.

    Args:
        caption (`str`): The caption.
        share (`float`): Share of the words of the result that are fillers; the number of fillers that comes nearest.
        rng (`random.Random`): Generator of places and words.

    Returns:
        `str`: The caption with fillers; without them it is the same, word for word.
    """
    words = caption.split(" ")
    fewer = int(share * len(words) / (1 - share))
    count = min(fewer, fewer + 1, key=lambda count: abs(count / (count + len(words)) - share))
    fillers: list[list[str]] = [[] for _ in words]  # those that follow each word
    for _ in range(count):
        fillers[rng.randrange(len(words) - 1)].append(rng.choice(FILLER_WORDS))
    return " ".join(" ".join([word, *following]) for word, following in zip(words, fillers, strict=True))


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


def make_scenes(
    seed: int = 0, num_train: int = 3400, num_validation: int = 200, num_test: int = 300, filler_words: float = 0.0
) -> list[Scene]:
    """Make all scenes of the benchmark: the same list for the same arguments, on any machine.

    Args:
        seed (`int`, *optional*, defaults to 0): Seed of everything that is drawn.
        num_train, num_validation, num_test (`int`, *optional*, defaults to 3400, 200 and 300): Clips of each split.
            In validation and test, 40 % of the clips are order-swapped twins of one another.
        filler_words (`float`, *optional*, defaults to 0.0): Share of the words of each caption that are fillers, from
            0 to 0.7. Nothing else depends on it.

    Returns:
        `list[Scene]`: The scenes, `video0` first, with six captions each in train and one in validation and test.

    Raises:
        `BenchmarkError`: When `filler_words` is not a number from 0 to 0.7.

    Example:

    ```python
    >>> from drl_tvr.data.moving_shapes.scenes import make_scenes

    >>> scenes = make_scenes(num_train=2, num_validation=1, num_test=5)
    >>> [(scene.video_id, scene.split, len(scene.captions)) for scene in scenes[:3]]
    [('video0', 'train', 6), ('video1', 'train', 6), ('video2', 'validation', 1)]
    ```
    """
    filler_words = check_share("filler_words", filler_words)
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
    if filler_words:
        scenes = [with_fillers(scene, seed, filler_words) for scene in scenes]
    return sorted(scenes, key=lambda scene: int(scene.video_id.removeprefix("video")))


def with_fillers(scene: Scene, seed: int, share: float) -> Scene:
    """Return a scene with filler words in its captions, drawn from the seed and the clip's name."""
    rng = random.Random(f"{seed} {scene.video_id} fillers")
    return replace(scene, captions=tuple(insert_fillers(caption, share, rng) for caption in scene.captions))


@dataclass(frozen=True)
class Part:
    """One event at its time in a clip.

    Args:
        start, end (`float`): Its time, in seconds.
        event (`Event`): The event.
        lane (`float`): Offset from the middle across the direction of motion, as a part of the short side.
        turn (`float`): Direction of a spin, 1 or -1.
    """

    start: float
    end: float
    event: Event
    lane: float
    turn: float


@dataclass(frozen=True)
class Layout:
    """All values that a scene is drawn with.

    Args:
        size (`tuple[int, int]`): Width and height in pixels.
        fps (`int`): Frames per second.
        duration (`float`): Length in seconds.
        background (`tuple[list[int], list[int], int]`): From [`draw_background_values`].
        events (`tuple[Part]`): The events of the scene.
        irrelevant (`tuple[Part]`): Events that no caption mentions.
        quality (`int`): x264's constant rate factor.
    """

    size: tuple[int, int]
    fps: int
    duration: float
    background: tuple[list[int], list[int], int]
    events: tuple[Part, ...]
    irrelevant: tuple[Part, ...]
    quality: int


def draw_layout(scene: Scene, seed: int = 0, irrelevant_frames: float = 0.0, irrelevant_kind: str = "blank") -> Layout:
    """Draw resolution, frame rate, length, background, encoder quality, lanes and pauses of a clip.

    All are drawn from the seed and the clip's name, independently of its events. What irrelevant frames add has a
    generator of its own, so that all else stays as it is without them.

    Args:
        scene (`Scene`): The scene.
        seed (`int`, *optional*, defaults to 0): Seed of the benchmark.
        irrelevant_frames (`float`, *optional*, defaults to 0.0): Share of the clip's time that is added before,
            between and after the events, from 0 to 0.7.
        irrelevant_kind (`str`, *optional*, defaults to `"blank"`): What is shown there: `"blank"`, the background
            alone, or `"object"`, another object in motion.

    Returns:
        `Layout`: The values.

    Raises:
        `BenchmarkError`: When a dial is invalid.
    """
    share = check_share("irrelevant_frames", irrelevant_frames)
    check_kind(irrelevant_kind)
    rng = random.Random(f"{seed} {scene.video_id}")
    size, fps, duration = rng.choice(RESOLUTIONS), rng.choice(FRAME_RATES), rng.uniform(3.0, 6.0)
    background = draw_background_values(rng)
    # An empty lead-in and lead-out (in seconds), and between them events of unequal length.
    lead_in, lead_out = rng.uniform(0.0, 0.4), rng.uniform(0.0, 0.4)
    weights = [rng.uniform(0.8, 1.2) for _ in scene.events]
    span = (duration - lead_in - lead_out) / sum(weights)

    longer = duration / (1 - share)
    gap_rng = random.Random(f"{seed} {scene.video_id} irrelevant")
    cuts = [0.0, *sorted(gap_rng.random() for _ in scene.events), 1.0]
    gaps = [(longer - duration) * (stop - begin) for begin, stop in zip(cuts, cuts[1:], strict=False)]

    events, between, time = [], [], lead_in
    for event, weight, gap in zip(scene.events, weights, gaps, strict=False):
        between.append((time, time + gap))
        time += gap
        events.append(Part(time, time + weight * span, event, *draw_path(rng)))
        time += weight * span
    between.append((time, time + gaps[-1]))

    irrelevant = []
    if share and irrelevant_kind == "object":
        triples = other_triples(scene, split_triples(random.Random(seed))[scene.split])
        for start, end in between:
            (other,) = draw_events(triples, 1, gap_rng)
            irrelevant.append(Part(start, end, other, *draw_path(gap_rng)))
    return Layout(size, fps, longer, background, tuple(events), tuple(irrelevant), quality=rng.randint(18, 26))


def draw_background_values(rng: random.Random) -> tuple[list[int], list[int], int]:
    """Draw the colours at the top and at the bottom of a background, and the seed of its grain."""
    top, bottom = ([rng.randint(10, 75) for _ in range(3)] for _ in range(2))
    return top, bottom, rng.getrandbits(32)


def draw_path(rng: random.Random) -> tuple[float, float]:
    """Draw the lane and the turn of a part."""
    return rng.uniform(-0.1, 0.1), rng.choice((-1.0, 1.0))


def other_triples(scene: Scene, triples: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return the triples of the scene's split that differ from all its events in colour and shape.

    A small split may have none of them for a scene of three events; then they differ in colour.
    """
    colors, shapes, _ = (set(values) for values in zip(*(event.triple for event in scene.events), strict=True))
    in_color = [triple for triple in triples if triple[0] not in colors]
    return [triple for triple in in_color if triple[1] not in shapes] or in_color


def event_times(scene: Scene, seed: int = 0, irrelevant_frames: float = 0.0) -> list[tuple[float, float]]:
    """Return when a clip shows its events; the kind of irrelevant frames does not change that.

    Args:
        scene (`Scene`): The scene.
        seed (`int`, *optional*, defaults to 0): Seed of the benchmark.
        irrelevant_frames (`float`, *optional*, defaults to 0.0): As in the benchmark's settings.

    Returns:
        `list[tuple[float, float]]`: Start and end of each event, in seconds. A frame at time `t` shows the event with
        `start <= t < end`.

    Raises:
        `BenchmarkError`: When `irrelevant_frames` is not a number from 0 to 0.7.

    Example:

    ```python
    >>> from drl_tvr.data.moving_shapes.scenes import event_times, make_scenes

    >>> scene = make_scenes(num_train=2, num_validation=1, num_test=5)[0]
    >>> [(round(start, 2), round(end, 2)) for start, end in event_times(scene)]
    [(0.15, 4.31)]
    >>> [(round(start, 2), round(end, 2)) for start, end in event_times(scene, irrelevant_frames=0.5)]
    [(2.83, 6.99)]
    ```
    """
    return [(part.start, part.end) for part in draw_layout(scene, seed, irrelevant_frames).events]
