"""Measure what frames of a long video cost, beside plain PyAV: 12 frames of the whole, late windows, many windows.

    python benchmarks/long_videos.py                                   # 2 minutes of 320 x 180
    python benchmarks/long_videos.py --minutes 20 --size 640 360       # takes minutes
    python benchmarks/long_videos.py --video film.mp4                  # a video of your own

Every way runs in a process of its own. "First" includes reading the container, which is kept for further calls. Plain
PyAV seeks once and decodes from there, or decodes everything; it checks nothing. Seconds are of the CPU, so that other
work on the machine counts for little.
"""

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch
from datasets import Dataset
from measuring import machine, memory, peak_memory, reset_peak, run_apart
from transformers.utils import logging as hf_logging

from drl_tvr import DRLVideoProcessor
from drl_tvr.data.frame_store import load_frames
from drl_tvr.model.video_decoding import decode_video


FPS, KEY_FRAMES = 25, 250  # frames per second, and frames from one key frame to the next, as x264 has them
WINDOW = 10.0  # seconds


def render(path: Path, minutes: float, width: int, height: int) -> None:
    """Render a video of moving noise in H.264."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "23", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = KEY_FRAMES
        for number in range(round(minutes * 60 * FPS)):
            pixels = np.roll(noise, (number, 2 * number), (0, 1))
            pixels[: height // 2] = number % 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def seek_once(path: str, start: float, num_frames: int, step: float) -> list[np.ndarray]:
    """Take frames by plain PyAV: one seek, and decoding from there."""
    frames = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = torch.get_num_threads()
        container.seek(int(start / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.time >= start + step * len(frames) - 1e-6:
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == num_frames:
                    break
    return frames


def decode_all(path: str) -> int:
    """Decode every frame by plain PyAV, and keep none."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = torch.get_num_threads()
        return sum(1 for _ in container.decode(stream))


def store_windows(path: str, duration: float, num_windows: int) -> None:
    """Decode windows into a new frame store, in two processes."""
    starts = np.linspace(0, duration - WINDOW, num_windows).tolist()
    videos = Dataset.from_list([{"path": path, "start": start, "end": start + WINDOW} for start in starts])
    with tempfile.TemporaryDirectory() as store:
        load_frames(videos, DRLVideoProcessor(), store, num_processes=2)


def find_way(name: str, path: str, duration: float, value: float) -> Callable[[], object]:
    """Return the function to measure."""
    return {
        "12 frames, ours": lambda: decode_video(path, backend="pyav"),
        "12 frames, a seek each": lambda: [
            seek_once(path, second, 1, 1.0) for second in np.linspace(0, duration - 1, 12)
        ],
        "decode all": lambda: decode_all(path),
        "window, ours": lambda: decode_video(path, start=value, end=value + WINDOW, backend="pyav"),
        "window, one seek": lambda: seek_once(path, value, 11, 1.0),
        "windows, store": lambda: store_windows(path, duration, round(value)),
    }[name]


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the processes that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure_one(name: str, path: str, duration: float, value: float, runs: int) -> dict:
    """Return the seconds of the first call and of the others, and the peak memory above that before."""
    hf_logging.set_verbosity_error()
    function, seconds = find_way(name, path, duration, value), []
    before = memory("cpu")
    reset_peak("cpu")
    for _ in range(runs + 1):
        began = cpu_seconds()
        function()
        seconds.append(cpu_seconds() - began)
    return {"first": seconds[0], "others": seconds[1:], "peak": peak_memory("cpu") - before}


def main() -> None:
    """Measure all ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="a video; by default one is rendered")
    parser.add_argument("--minutes", type=float, default=2.0, help="length of the rendered video")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 180), help="its width and height")
    parser.add_argument("--windows", type=int, default=12, help="number of windows for the frame store")
    parser.add_argument("--runs", type=int, default=3, help="number of times that each way runs after the first")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_one(*json.loads(args.one))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.video or Path(folder) / "long.mp4"
        if args.video is None:
            render(path, args.minutes, *args.size)
        with av.open(path) as container:
            duration = container.duration / av.time_base
        windows = [share * (duration - WINDOW) for share in (0, 0.05, 0.25, 0.5, 1)]
        rows = [("12 frames, ours", 0), ("12 frames, a seek each", 0), ("decode all", 0)]
        rows += [(way, start) for start in windows for way in ("window, ours", "window, one seek")]
        rows += [("windows, store", args.windows)]
        print(f"{duration:.0f} s, {path.stat().st_size / 1e6:.0f} MB\n")
        print("| what | first, CPU s | again, CPU s | peak MB |\n|---|---:|---:|---:|")
        for name, value in rows:
            found = run_apart(__file__, [name, str(path), duration, value, args.runs])
            others = found["others"]
            again = f"{median(others):.2f} ± {(max(others) - min(others)) / 2:.2f}"
            label = name.replace("windows,", f"{value} windows of {WINDOW:g} s,")
            label = label.replace("window,", f"{WINDOW:g} s from {value:.0f} s,")
            peak = "-" if "store" in name else f"{found['peak']:,.0f}"  # in other processes
            print(f"| {label} | {found['first']:.2f} | {again} | {peak} |", flush=True)
    print(f"\nMedian ± half the range of {args.runs} runs after the first. {machine()}, PyAV {av.__version__}.")


if __name__ == "__main__":
    main()
