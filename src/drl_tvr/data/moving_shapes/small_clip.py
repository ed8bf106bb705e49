"""Train the small CLIP from which the recipe of the bundled benchmark starts, as the paper's starts from OpenAI's."""

import json
import os
import tempfile
from pathlib import Path

import torch
from filelock import FileLock
from tqdm.auto import trange
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, get_scheduler, set_seed

from ..errors import BenchmarkError
from ..tokenizer import train_clip_tokenizer
from .build import read_settings
from .scenes import make_scenes
from .stills import draw_stills


IMAGE_SIZE = 64
TOWER = {"num_attention_heads": 2, "hidden_act": "gelu"}
TEXT_TOWER = {**TOWER, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2}
VISION_TOWER = {**TOWER, "hidden_size": 80, "intermediate_size": 320, "num_hidden_layers": 3, "patch_size": 16}
PROJECTION_DIM = 64
MAX_TOKENS = 128  # positions of the text tower: captions with many filler words are long
STILLS_FILE = "stills.json"  # says of which benchmark the stills are
NUM_STILLS = 100  # per object
LEARNING_RATE = 1e-3
# exp(2.3) = 10. At CLIP's initial 14, the fastest way to a lower loss is to make all similarities equal, and the model
# stays there for hundreds of steps.
LOGIT_SCALE = 2.3


def train_small_clip(
    folder: str | os.PathLike, root: str | os.PathLike | None = None, seed: int = 0, num_steps: int = 1000
) -> Path:
    """Train a small `CLIPModel` on stills of the bundled world, unless the folder is there.

    Each batch holds one still of every object, a colour and a shape, with a caption that names the object. The loss is
    that of transformers' `CLIPModel`. Motions and their order are left to the training on videos.

    Args:
        folder (`str` or `os.PathLike`): Folder for the checkpoint, with its tokenizer and image processor. It appears
            only when it is complete; one that is there is left as it is.
        root (`str` or `os.PathLike`, *optional*): Folder of the benchmark, whose seed decides what is held out; by
            default seed 0.
        seed (`int`, *optional*, defaults to 0): Seed of weights, stills and batches.
        num_steps (`int`, *optional*, defaults to 1000): Training steps.

    Returns:
        `Path`: `folder`, which then loads with `CLIPModel.from_pretrained`.

    Raises:
        `BenchmarkError`: When the small CLIP that is there has seen what this benchmark holds out.
    """
    folder = Path(folder)
    settings = (None if root is None else read_settings(Path(root))) or {}
    world = {"benchmark_seed": settings.get("seed", 0)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):  # one process trains, others wait and find its checkpoint
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
                whole = Path(temporary) / folder.name
                train(whole, world["benchmark_seed"], seed, num_steps)
                (whole / STILLS_FILE).write_text(json.dumps(world))
                whole.rename(folder)
    stills = folder / STILLS_FILE
    if stills.is_file() and (found := json.loads(stills.read_text())) != world:
        raise BenchmarkError(f"{folder}: found a CLIP trained with {found}, expected {world}, as {root} says.")
    return folder


def train(folder: Path, benchmark_seed: int, seed: int, num_steps: int) -> None:
    """Train the model and save it with its processor."""
    scenes = make_scenes(benchmark_seed)
    # With filler words, so that the vocabulary has them: the same checkpoint is for all worlds.
    with_fillers = make_scenes(benchmark_seed, filler_words=0.3)
    captions = [caption for scene in with_fillers if scene.split == "train" for caption in scene.captions]
    processor = CLIPProcessor(
        CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        ),
        train_clip_tokenizer(captions, folder),
    )
    set_seed(seed)
    model = CLIPModel(make_config(processor.tokenizer))
    objects = [processor_inputs(processor, stills) for stills in draw_stills(scenes, NUM_STILLS, seed).values()]
    inputs = {name: torch.stack([of_object[name] for of_object in objects]) for name in objects[0]}

    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    scheduler = get_scheduler("cosine", optimizer, num_steps // 20, num_steps)
    rows = torch.arange(len(objects))
    for _ in trange(num_steps, desc="Training the small CLIP", unit="step"):
        chosen = torch.randint(NUM_STILLS, (len(objects),))
        loss = model(**{name: value[rows, chosen] for name, value in inputs.items()}, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def make_config(tokenizer) -> CLIPConfig:
    """Make the configuration of the small CLIP for the vocabulary of a tokenizer."""
    vocabulary = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPConfig(
        text_config={**TEXT_TOWER, **vocabulary, "max_position_embeddings": MAX_TOKENS},
        vision_config={**VISION_TOWER, "image_size": IMAGE_SIZE},
        projection_dim=PROJECTION_DIM,
        logit_scale_init_value=LOGIT_SCALE,
    )


def processor_inputs(processor: CLIPProcessor, stills: list) -> dict[str, torch.Tensor]:
    """Prepare stills and their captions, padded to one length."""
    return processor(
        text=[still.caption for still in stills],
        images=[still.image for still in stills],
        padding="max_length",
        max_length=16,
        truncation=True,
        return_tensors="pt",
    )


__all__ = ["train_small_clip"]
