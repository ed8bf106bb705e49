"""Draw a scene of the bundled benchmark and encode it as a real H.264 mp4 file."""

import io
import math

import av
import numpy as np
from PIL import Image, ImageDraw

from .scenes import Event, Scene, draw_layout


COLOR_VALUES = {
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 90, 235),
    "yellow": (240, 215, 40),
    "purple": (165, 60, 200),
    "white": (245, 245, 245),
}
RADII = {"small": 0.2, "big": 0.3}  # as parts of the short side
SCALE = 2  # frames are drawn at twice the size and averaged down, which smooths the edges


def shape_points(shape: str) -> list[tuple[float, float]]:
    """Return the corners of a shape of radius 1 around the origin; a circle is a polygon of many corners."""
    if shape == "cross":
        arm = 0.34
        return [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)] + [
            (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm)
        ]  # fmt: skip
    corners, inner = {"circle": (36, 1.0), "square": (4, None), "triangle": (3, None), "star": (5, 0.42)}[shape]
    turn = math.pi / 4 if shape == "square" else 0.0
    radius = {"square": 1.2, "triangle": 1.15}.get(shape, 1.0)
    points = []
    for i in range(corners):
        angle = turn + 2 * math.pi * i / corners
        points.append((radius * math.sin(angle), -radius * math.cos(angle)))
        if inner is not None:
            angle += math.pi / corners
            points.append((inner * math.sin(angle), -inner * math.cos(angle)))
    return points


def pose(event: Event, progress: float, lane: float, turn: float) -> tuple[float, float, float, float]:
    """Return where an object is at a time.

    Args:
        event (`Event`): The event.
        progress (`float`): Time within the event, from 0 to 1.
        lane (`float`): Offset from the middle across the direction of motion, as a part of the short side.
        turn (`float`): Direction of a spin, 1 or -1.

    Returns:
        `tuple[float, float, float, float]`: Centre x, centre y and radius as parts of the short side (0.5 is the
        middle), and the angle in radians.
    """
    x, y, radius, angle = 0.5 + lane, 0.5 + lane, RADII[event.size], 0.0
    travel = (0.92 - 2 * radius) * (progress - 0.5)
    if event.motion in ("left", "right"):
        x = 0.5 + (travel if event.motion == "right" else -travel)
    elif event.motion in ("up", "down"):
        y = 0.5 + (travel if event.motion == "down" else -travel)
    elif event.motion == "spin":
        angle = turn * 1.5 * math.pi * progress
    elif event.motion in ("grow", "shrink"):
        share = progress if event.motion == "grow" else 1 - progress
        radius = 0.13 + 0.23 * share
    return x, y, radius, angle


def render(scene: Scene, seed: int = 0, irrelevant_frames: float = 0.0, irrelevant_kind: str = "blank") -> bytes:
    """Draw and encode one scene.

    Args:
        scene (`Scene`): The scene.
        seed (`int`, *optional*, defaults to 0): Seed of the benchmark.
        irrelevant_frames, irrelevant_kind (*optional*): The benchmark's dials, as in [`draw_layout`].

    Returns:
        `bytes`: The mp4 file; the same bytes for the same arguments and the same version of the encoder.

    Raises:
        `BenchmarkError`: When a dial is invalid.
    """
    layout = draw_layout(scene, seed, irrelevant_frames, irrelevant_kind)
    background = draw_background(*layout.size, *layout.background)
    frames = []
    for index in range(round(layout.duration * layout.fps)):
        time = index / layout.fps
        canvas = background.copy()
        for part in (*layout.events, *layout.irrelevant):
            if part.start <= time < part.end:
                progress = (time - part.start) / (part.end - part.start)
                draw_object(canvas, part.event, *pose(part.event, progress, part.lane, part.turn))
        frames.append(canvas.reduce(SCALE))
    return encode(frames, layout.fps, layout.quality)


def draw_background(width: int, height: int, top: list[int], bottom: list[int], grain_seed: int) -> Image.Image:
    """Draw a dark gradient with faint grain, `SCALE` times as large as the clip."""
    ramp = np.linspace(0, 1, height * SCALE, dtype=np.float32)[:, None, None]
    grain = np.random.default_rng(grain_seed).normal(0, 4, (height, width, 1)).astype(np.float32)
    grain = grain.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    pixels = np.float32(top) * (1 - ramp) + np.float32(bottom) * ramp + grain  # (height, width, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGB")


def draw_object(canvas: Image.Image, event: Event, x: float, y: float, radius: float, angle: float) -> None:
    """Paint an object on `canvas`; positions are relative to the central square, so a centre crop keeps it whole."""
    side = min(canvas.size)
    left, top = (canvas.width - side) / 2, (canvas.height - side) / 2
    cos, sin = math.cos(angle) * radius * side, math.sin(angle) * radius * side
    points = [
        (left + x * side + px * cos - py * sin, top + y * side + px * sin + py * cos)
        for px, py in shape_points(event.shape)
    ]
    ImageDraw.Draw(canvas).polygon(points, fill=COLOR_VALUES[event.color])


def encode(frames: list[Image.Image], fps: int, quality: int) -> bytes:
    """Encode RGB frames as H.264 in mp4.

    Args:
        frames (`list[PIL.Image.Image]`): Frames of one size, even in both directions.
        fps (`int`): Frames per second.
        quality (`int`): x264's constant rate factor; lower is better.

    Returns:
        `bytes`: The mp4 file.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        # With one thread, the bytes do not depend on the number of cores.
        stream.options = {"crf": str(quality), "preset": "ultrafast", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return file.getvalue()
