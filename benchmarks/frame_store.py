"""Measure ways to store decoded frames: bytes, speed, and the loss in pixels and in retrieval of lossy ones.

    python benchmarks/frame_store.py --size 64 --fps 2                     # 60 clips of the bundled benchmark
    python benchmarks/frame_store.py --model outputs/moving-shapes         # its whole test split, with the metric
    python benchmarks/frame_store.py FOLDER                                # the videos of a folder, 224 pixels

One process with one thread. Reading returns uint8 pixels of shape (num_frames, 3, size, size), copied so that every
byte is read, from the system's memory. Writing includes the disk: the bytes of each format are synced.
"""

import argparse
import io
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Features, Sequence, Value
from datasets.arrow_writer import ArrowWriter
from decoding import cell, command, find_clips, machine, measure, rate
from PIL import Image
from torch.utils.data import DataLoader
from transformers.utils import logging as hf_logging

from drl_tvr import DRLModel, DRLProcessor, DRLVideoProcessor, evaluate_retrieval, load_benchmark
from drl_tvr.data.frame_keys import describe_source, pixel_settings, stored_file
from drl_tvr.data.frame_store import StoredFrames, load_frames, save_frames
from drl_tvr.data.loading import CaptionDataset, RetrievalCollator, VideoDataset
from drl_tvr.evaluation import encode_captions, encode_videos, score_all


ROWS = Features({"pixels": Value("large_binary"), "shape": Sequence(Value("int32"))})
IMAGES = Features({"images": Sequence(Value("large_binary"))})
CODECS = {
    "JPEG, quality 95": {"format": "JPEG", "quality": 95},
    "JPEG, quality 90": {"format": "JPEG", "quality": 90},
    "WebP, quality 90": {"format": "WEBP", "quality": 90},
    "WebP, lossless": {"format": "WEBP", "lossless": True, "quality": 20},
}


def write_store(clips: list[torch.Tensor], folder: Path, paths: list[str], settings: dict) -> Callable:
    """Write one safetensors file per clip: the package's own store."""
    sources = [describe_source(settings, path) for path in paths]
    files = [stored_file(folder, source) for source in sources]
    for pixels, file, source in zip(clips, files, sources, strict=True):
        save_frames(file, source, pixels)
    stored = StoredFrames(files)
    return lambda index: stored[index].clone()


def write_rows(clips: list[torch.Tensor], folder: Path, codec: str | None) -> Callable:
    """Write raw pixels to one Arrow file, as `Dataset.map` does; compressed when a codec is named."""

    def row(pixels: torch.Tensor) -> dict:
        content = pixels.numpy().tobytes()
        return {"pixels": pa.compress(content, codec, asbytes=True) if codec else content, "shape": pixels.shape}

    table = write_table((row(pixels) for pixels in clips), folder, ROWS)

    def read(index: int) -> torch.Tensor:
        found = table[index]
        size = math.prod(found["shape"])
        content = pa.decompress(found["pixels"], size, codec, asbytes=True) if codec else found["pixels"]
        return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).reshape(found["shape"]).copy())

    return read


def write_images(clips: list[torch.Tensor], folder: Path, options: dict) -> Callable:
    """Write one encoded image per frame to one Arrow file."""

    def encode(frame: torch.Tensor) -> bytes:
        target = io.BytesIO()
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(target, **options)
        return target.getvalue()

    table = write_table(({"images": [encode(frame) for frame in pixels]} for pixels in clips), folder, IMAGES)

    def read(index: int) -> torch.Tensor:
        images = [np.array(Image.open(io.BytesIO(image)).convert("RGB")) for image in table[index]["images"]]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    return read


def write_table(rows, folder: Path, features: Features) -> Dataset:
    """Write rows to an Arrow file, and map it."""
    path = str(folder / "clips.arrow")
    with ArrowWriter(features=features, path=path, writer_batch_size=8) as writer:
        for row in rows:
            writer.write(row)
        writer.finalize()
    with open(path, "rb") as written:
        os.fsync(written.fileno())
    return Dataset.from_file(path)


def psnr(clips: list[torch.Tensor], read: Callable) -> str:
    """Format the peak signal-to-noise ratio in dB over the pixels of all clips."""
    errors = [(read(index).float() - pixels.float()).square().mean().item() for index, pixels in enumerate(clips)]
    error = float(np.mean(errors))
    return "exact" if error == 0 else f"{10 * math.log10(255**2 / error):.1f}"


def recall(model: DRLModel, processor: DRLProcessor, clips: list[torch.Tensor]) -> str:
    """Format R@1 in percent on the test split, text to video and video to text."""
    data = load_benchmark("moving-shapes", split="test")
    collate = RetrievalCollator(processor)
    captions = CaptionDataset(data.captions["caption"][:])
    texts, videos = (DataLoader(items, 50, collate_fn=collate) for items in (captions, VideoDataset(clips)))
    similarity = score_all(model, encode_captions(model, texts, False), encode_videos(model, videos, False))
    metrics = evaluate_retrieval(similarity, data.caption_to_video)
    return f"{metrics['t2v_R@1']:.1f} / {metrics['v2t_R@1']:.1f}"


def main() -> None:
    """Measure all formats and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of videos; by default the bundled benchmark")
    parser.add_argument("--model", type=Path, help="model trained on the bundled benchmark; its settings are used")
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--fps", type=float, default=1.0, help="frames to take per second")
    parser.add_argument("--max_frames", type=int, default=12, help="maximum number of frames of a clip")
    parser.add_argument("--num_clips", type=int, default=60, help="maximum number of clips")
    parser.add_argument("--runs", type=int, default=5, help="number of times that all clips are read")
    args = parser.parse_args()
    if args.model and args.folder:
        parser.error("--model: found a folder of videos too, expected the bundled benchmark alone.")
    hf_logging.set_verbosity_error()
    described = machine()
    torch.set_num_threads(1)
    side = {"size": {"shortest_edge": args.size}, "crop_size": {"height": args.size, "width": args.size}}
    video_processor = DRLVideoProcessor(fps=args.fps, max_frames=args.max_frames, **side)
    if args.model:
        model, processor = DRLModel.from_pretrained(args.model), DRLProcessor.from_pretrained(args.model)
        video_processor = processor.video_processor
    num_clips = len(load_benchmark("moving-shapes", split="test").videos) if args.model else args.num_clips
    paths, left_out = find_clips(args.folder, num_clips, video_processor)
    paths = list(paths)

    formats = {
        "uint8, one file per clip (the store)": None,
        "uint8, Arrow": None,
        "uint8 with zstd, Arrow": "zstd",
    } | CODECS
    with tempfile.TemporaryDirectory() as root:
        videos = Dataset.from_list([{"path": path, "start": None, "end": None} for path in paths])
        frames = load_frames(videos, video_processor, Path(root) / "decoded", num_processes=1)
        clips = [pixels.clone() for pixels in frames]
        raw = sum(pixels.numel() for pixels in clips)
        header = "| format | kB per clip | % of raw | written clips/s | read clips/s | PSNR, dB |"
        print(header + (" R@1, t2v / v2t |" if args.model else ""))
        print("|---|---:|---:|---:|---:|---:|" + ("---:|" if args.model else ""))
        for index, (name, options) in enumerate(formats.items()):
            folder = Path(root) / str(index)
            folder.mkdir()
            start = time.perf_counter()
            if index == 0:
                read = write_store(clips, folder, paths, pixel_settings(video_processor))
            elif isinstance(options, dict):
                read = write_images(clips, folder, options)
            else:
                read = write_rows(clips, folder, options)
            written = len(clips) / (time.perf_counter() - start)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            runs = [measure(read, len(clips)) for _ in range(args.runs)]
            cells = [f"{size / len(clips) / 1e3:,.0f}", f"{100 * size / raw:.0f}", f"{written:,.0f}"]
            cells += [cell(rate(runs, range(len(clips))), 0), psnr(clips, read)]
            if args.model:
                cells.append(recall(model, processor, [read(row) for row in range(len(clips))]))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    side_length = video_processor.crop_size["height"]
    what = f"{len(paths)} clips of {raw / len(clips) / 1e3:,.0f} kB, {side_length} pixels per side"
    print(f"\n{what}; reading: median and range of {args.runs} runs.")
    if left_out:
        print(f"Left out, because they are not videos or damaged: {', '.join(left_out)}.")
    print(f"Machine: {described}. Command:\n\n```bash\n{command()}\n```")


if __name__ == "__main__":
    main()
