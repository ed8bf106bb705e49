"""Measure how many videos per second a worker reads: the official way, by decoding, and from the frame store.

    python benchmarks/decoding.py                      # 40 clips of the bundled benchmark
    python benchmarks/decoding.py FOLDER --size 224    # the videos of a folder

One process with one thread does all of it, as a worker of a `DataLoader` would. Every way reads the same files, one
after the other, several times. The frames are copied, so that every byte is read.
"""

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torchvision import transforms
from transformers.utils import is_torchcodec_usable
from transformers.utils import logging as hf_logging

from drl_tvr import DRLVideoProcessor, load_benchmark
from drl_tvr.data.frame_store import StoredFrames, load_frames
from drl_tvr.model.video_decoding import VideoDecodeError, decode_video


LONG_SECONDS = (9.9, 30.0)  # a video "of 10 s" often has a frame or two less


def find_clips(
    folder: Path | None, num_clips: int, processor: DRLVideoProcessor
) -> tuple[dict[str, float], list[str]]:
    """Return each clip's path and length in seconds, and the files that were left out, with the reason."""
    if folder is None:
        paths = load_benchmark("moving-shapes", split="test").videos["path"][:]
    else:
        paths = [str(path) for path in sorted(folder.iterdir()) if path.is_file()]
    clips, left_out = {}, []
    for path in paths[:num_clips]:
        try:
            _, metadata = decode_video(path, processor.fps, processor.max_frames)
            clips[path] = metadata.duration
        except VideoDecodeError as error:
            left_out.append(f"{Path(path).name} ({error.code})")
    if not clips:
        raise SystemExit(f"{folder}: found no video that decodes, expected at least one.")
    return clips, left_out


def decode(path: str, processor: DRLVideoProcessor, backend: str) -> torch.Tensor:
    """Decode, sample, resize and crop a video to uint8."""
    frames, _ = decode_video(path, processor.fps, processor.max_frames, backend=backend)
    inputs = processor([frames], do_sample_frames=False, do_rescale=False, do_normalize=False)
    return inputs["pixel_values_videos"][0].contiguous()


def decode_officially(path: str, processor: DRLVideoProcessor) -> torch.Tensor:
    """Read a video as the official code does: one PIL image per frame, bicubic resize, centre crop, float32."""
    size = processor.crop_size["height"]
    transform = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(processor.image_mean, processor.image_std),
        ]
    )
    frames, _ = decode_video(path, processor.fps, processor.max_frames, backend="pyav")
    return torch.stack([transform(Image.fromarray(frame.permute(1, 2, 0).numpy())) for frame in frames])


def normalise(pixels: torch.Tensor, processor: DRLVideoProcessor) -> torch.Tensor:
    """Normalise stored pixels as the model does, here on the CPU."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    return (pixels.float() / 255 - mean) / std


def evict(file: Path) -> None:
    """Drop a file from the system's memory, so that it is read from the disk next time."""
    with open(file, "rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(read: Callable[[int], torch.Tensor], num_clips: int) -> list[float]:
    """Return the seconds that each clip takes."""
    seconds = []
    for index in range(num_clips):
        start = time.perf_counter()
        read(index)
        seconds.append(time.perf_counter() - start)
    return seconds


def rate(runs: list[list[float]], chosen: list[int]) -> list[float]:
    """Return clips per second over the chosen clips, for each run."""
    return [len(chosen) / sum(seconds[index] for index in chosen) for seconds in runs]


def cell(values: list[float], digits: int = 1) -> str:
    """Format the median and the range."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def machine() -> str:
    """Describe the CPU and the versions of the libraries."""
    model = platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, PyAV {av.__version__}"
    if is_torchcodec_usable(decode="video"):
        versions += f", torchcodec {version('torchcodec')}"
    return f"{os.cpu_count()} cores of {model}, load {os.getloadavg()[0]:.1f} at the start; {versions}"


def command() -> str:
    """Return this command as it would be typed."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def main() -> None:
    """Measure all ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of videos; by default the bundled benchmark")
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--fps", type=float, default=1.0, help="frames to take per second")
    parser.add_argument("--max_frames", type=int, default=12, help="maximum number of frames of a clip")
    parser.add_argument("--num_clips", type=int, default=40, help="maximum number of clips")
    parser.add_argument("--runs", type=int, default=5, help="number of times that all clips are read")
    args = parser.parse_args()
    hf_logging.set_verbosity_error()
    described = machine()
    torch.set_num_threads(1)
    processor = DRLVideoProcessor(
        fps=args.fps,
        max_frames=args.max_frames,
        size={"shortest_edge": args.size},
        crop_size={"height": args.size, "width": args.size},
    )
    clips, left_out = find_clips(args.folder, args.num_clips, processor)
    paths = list(clips)
    chosen = {"all": list(range(len(paths)))}
    long = [index for index, length in enumerate(clips.values()) if LONG_SECONDS[0] <= length <= LONG_SECONDS[1]]
    if long:
        chosen["10 to 30 s"] = long

    with tempfile.TemporaryDirectory() as store:
        videos = Dataset.from_list([{"path": path, "start": None, "end": None} for path in paths])
        frames = load_frames(videos, processor, store, num_processes=1)
        ways = {
            "the official way: decode with PyAV, PIL, float32": lambda i: decode_officially(paths[i], processor),
            "decode with PyAV": lambda i: decode(paths[i], processor, "pyav"),
            "decode with torchcodec": lambda i: decode(paths[i], processor, "torchcodec"),
            "store, normalised to float32": lambda i: normalise(frames[i], processor),
            "store": lambda i: frames[i].clone(),
            "store, from the disk": lambda i: frames[i].clone(),
        }
        if not is_torchcodec_usable(decode="video"):
            del ways["decode with torchcodec"]
        runs = {way: [] for way in ways}
        for _ in range(args.runs):
            for way, read in ways.items():
                if way == "store, from the disk":
                    for file in frames.files:
                        evict(file)
                runs[way].append(measure(read, len(paths)))
        size = np.mean([file.stat().st_size for file in frames.files])
        check(frames, paths, processor)

    decoding = [way for way in ways if way.startswith("decode")]
    header = [f"clips/s, {title} ({len(indices)})" for title, indices in chosen.items()]
    print(f"| one process, one thread | {' | '.join(header)} | times the official way |")
    print(f"|---|{'---:|' * (len(header) + 1)}")
    for way in ways:
        rates = [rate(runs[way], indices) for indices in chosen.values()]
        official = median(rate(runs[next(iter(ways))], list(chosen.values())[-1]))
        print(f"| {way} | {' | '.join(map(cell, rates))} | {median(rates[-1]) / official:,.1f} |")
    print(f"\nMedian and range of {args.runs} runs; {size / 1e6:.2f} MB per clip in the store.")
    for way in decoding:
        for title, indices in chosen.items():
            slow, quick = ([median(run[i] for run in runs[name]) for i in indices] for name in (way, "store"))
            times = [there / here for there, here in zip(slow, quick, strict=True)]
            least = Path(paths[indices[times.index(min(times))]]).name
            print(
                f"Clip by clip ({title}), the store is {cell(times, 0)} times as fast as `{way}`: median and range; "
                f"the smallest factor is that of {least}."
            )
    if not is_torchcodec_usable(decode="video"):
        print("torchcodec is not usable here: it or FFmpeg's libraries are missing.")
    if left_out:
        print(f"Left out, because they are not videos or damaged: {', '.join(left_out)}.")
    print(f"Machine: {described}. Command:\n\n```bash\n{command()}\n```")


def check(frames: StoredFrames, paths: list[str], processor: DRLVideoProcessor) -> None:
    """Stop when the ways do not return the same frames: the speed of wrong frames means nothing."""
    backend = "torchcodec" if is_torchcodec_usable(decode="video") else "pyav"
    for index, path in enumerate(paths):
        if not torch.equal(frames[index], decode(path, processor, backend)):
            raise SystemExit(f"{path}: found other frames in the store, expected those of {backend}.")


if __name__ == "__main__":
    main()
