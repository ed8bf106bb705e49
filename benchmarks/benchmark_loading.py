"""Time `load_benchmark` on generated files of MSR-VTT's size: 10,000 videos in subfolders and 200,000 captions.

    python benchmarks/benchmark_loading.py [FOLDER]

The captions are random words, about as long as MSR-VTT's; the videos are empty files, since loading only asks whether
they exist. Prints CPU seconds of one process for each split, and captions per CPU second.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from drl_tvr import load_benchmark


SPLITS = {"train": range(6513), "validate": range(6513, 7010), "test": range(7010, 10000)}
NUM_CAPTIONS = 20


def write_files(folder: Path) -> None:
    """Write MSR-VTT's JSON, and empty files with the names of its videos."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(1, 7))) for _ in range(5000)]
    videos, sentences = [], []
    for split, numbers in SPLITS.items():
        for number in numbers:
            video_id = f"video{number}"
            videos.append({"video_id": video_id, "split": split, "id": number, "url": f"https://example.org/{number}"})
            for _ in range(NUM_CAPTIONS):
                caption = " ".join(rng.choices(words, k=rng.randint(5, 12)))
                sentences.append({"caption": caption, "video_id": video_id, "sen_id": len(sentences)})
            path = folder / "videos" / str(number // 1000) / f"{video_id}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (folder / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))


def main() -> None:
    """Time each split and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a folder with MSR-VTT's own files instead")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary)
            write_files(folder)
        print(f"{'split':12}{'videos':>8}{'captions':>10}{'CPU s':>8}{'captions/s':>12}")
        total = captions = 0
        for split in ("train", "validation", "test"):
            start = time.process_time()
            data = load_benchmark("msrvtt-full", folder, split)
            seconds = time.process_time() - start
            total, captions = total + seconds, captions + len(data.captions)
            row = f"{split:12}{len(data.videos):8,}{len(data.captions):10,}{seconds:8.2f}"
            print(f"{row}{len(data.captions) / seconds:12,.0f}")
        print(f"{'all':12}{'':8}{captions:10,}{total:8.2f}{captions / total:12,.0f}")


if __name__ == "__main__":
    main()
