"""The words of the bundled benchmark's captions."""

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
# Words that say nothing about a clip; no caption has them without the dial `filler_words`.
FILLER_WORDS = (
    "um", "uh", "er", "hmm", "well", "so", "like", "just", "okay", "actually", "basically", "literally", "honestly",
    "frankly", "really", "simply", "indeed", "anyway", "somehow", "obviously"
)  # fmt: skip
