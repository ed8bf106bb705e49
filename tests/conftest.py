"""Small real videos and a small real tokenizer, made here so that no test needs a download."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import grey_frames, write_video


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real clips and parity data, which lies next to the repository where there is one."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not (path / "videos").is_dir():
        pytest.skip(f"no shared data at {path}")
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video of grey frames into `tmp_path`: `make_video("a.mp4", num_frames=30, fps=10)`."""

    def make(name: str = "video.mp4", num_frames: int = 30, height: int = 48, width: int = 64, **kwargs) -> Path:
        return write_video(tmp_path / name, grey_frames(num_frames, height, width), **kwargs)

    return make


@pytest.fixture
def make_audio(tmp_path: Path) -> Callable[..., Path]:
    """Writes an MP4 file with a second of silence and no video into `tmp_path`."""

    def make(name: str = "audio.mp4") -> Path:
        with av.open(tmp_path / name, "w") as container:
            stream = container.add_stream("aac", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def clip_tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny tokenizer in CLIP's format: the 256 bytes, alone and at a word's end, and a few merges."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    merges = ["d o", "do g</w>", "r u", "ru n", "run s</w>", "c a", "ca t</w>"]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    path = tmp_path_factory.mktemp("clip_tokenizer")
    (path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    (path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return path


def as_rank(rank: int, function: Callable, num_processes: int, port: int, args: tuple) -> None:
    """Call a function as one process of a run, as a launcher would start it."""
    import torch
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, PartialState, GradientState):  # copies of the main process's
        state._shared_state.clear()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
    torch.set_num_threads(1)
    function(rank, *args)


@pytest.fixture(scope="session")
def run_ranks() -> Callable[..., None]:
    """Run a function in the processes of one run: `run_ranks(4, function, *args)` calls `function(rank, *args)`.

    The processes are forks of this one, because a new one would spend 5 seconds on imports.
    """
    import torch.multiprocessing as mp

    def run(num_processes: int, function: Callable, *args) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.start_processes(
            as_rank, args=(function, num_processes, port, args), nprocs=num_processes, start_method="fork"
        )

    return run


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled benchmark with 16 train, 10 validation and 10 test clips; leave it as it is."""
    from drl_tvr.data.moving_shapes import build_moving_shapes

    root = tmp_path_factory.mktemp("small") / "moving-shapes"
    return build_moving_shapes(root, num_train=16, num_validation=10, num_test=10, num_processes=2)


@pytest.fixture(scope="session")
def tiny_processor(clip_tokenizer_dir: Path):
    """A processor for `make_tiny_model`: 32 pixels, 6 frames at most."""
    from transformers import CLIPTokenizer

    from drl_tvr import DRLProcessor, DRLVideoProcessor

    video_processor = DRLVideoProcessor(
        fps=2, max_frames=6, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return DRLProcessor(video_processor, CLIPTokenizer.from_pretrained(clip_tokenizer_dir))


@pytest.fixture(scope="session")
def make_tiny_model(tiny_processor) -> Callable:
    """Makes a DRLModel of width 32 and one layer a tower, the same weights every time."""
    import torch

    from drl_tvr import DRLConfig, DRLModel

    def make(**fields) -> DRLModel:
        tokenizer = tiny_processor.tokenizer
        tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = DRLConfig(
            text_config={**tower, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 32},
            vision_config={**tower, "image_size": 32, "patch_size": 8},
            projection_dim=32,
            **fields,
        )
        torch.manual_seed(0)
        return DRLModel(config)

    return make
