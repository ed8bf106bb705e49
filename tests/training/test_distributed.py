"""Two real processes give the loss and the gradients of one with the same global batch."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from drl_tvr import DRLFeatures, DRLModel, DRLTrainer
from drl_tvr.training.distributed import gather_features


WORDS, FRAMES = (6, 3, 4, 9), (2, 3, 6, 1)  # of the first process, then of the second: each pads to its own longest


def global_batch() -> dict[str, torch.Tensor]:
    """Four pairs of unlike length."""
    generator = torch.Generator().manual_seed(5)
    texts = torch.randint(0, 500, (4, max(WORDS)), generator=generator)
    words = torch.tensor(WORDS)[:, None] > torch.arange(max(WORDS))
    frames = torch.tensor(FRAMES)[:, None] > torch.arange(max(FRAMES))
    for row, length in enumerate(WORDS):
        texts[row, length - 1 :] = 520  # EOS
    return {
        "input_ids": texts,
        "attention_mask": words.long(),
        "pixel_values_videos": torch.randn(4, max(FRAMES), 3, 32, 32, generator=generator)
        * frames[..., None, None, None],
        "video_mask": frames.long(),
    }


def part_of(batch: dict[str, torch.Tensor], rows: list[int]) -> dict[str, torch.Tensor]:
    """Some pairs, without the padding that they don't need."""
    longest = {
        "text": int(batch["attention_mask"][rows].sum(1).max()),
        "video": int(batch["video_mask"][rows].sum(1).max()),
    }
    return {
        name: value[rows, : longest["text" if name in ("input_ids", "attention_mask") else "video"]]
        for name, value in batch.items()
    }


CROSS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
FIELDS = {
    "wti": {},
    "ti": {"interaction": "ti"},
    "dp": {"interaction": "dp"},
    "no-cdcr": {"cdcr": "none"},
    "argmax-lstm": {"cdcr": "argmax", "temporal_encoder": "lstm"},
    "random": {"cdcr": "random"},
    "mlp": {"interaction": "mlp"},
    # Dropout would differ, since one process draws for all pairs at once.
    "xti": {
        "interaction": "xti",
        "cdcr": "none",
        "cross_config": {**CROSS, "hidden_dropout": 0.0, "initializer_range": 0.3, "initializer_factor": 3.0},
    },
}


def train_one_step(rank: int, folder: Path, name: str) -> None:
    """One process of two: the trainer's own `compute_loss` on DistributedDataParallel."""
    model = DRLModel.from_pretrained(folder / name).train()
    trainer = SimpleNamespace(
        args=SimpleNamespace(world_size=2),
        accelerator=SimpleNamespace(unwrap_model=lambda wrapped: wrapped.module),
        _loss_parts={},
    )
    rows = [0, 1] if rank == 0 else [2, 3]
    parallel = DistributedDataParallel(model)  # kept: without it, nothing averages the gradients
    torch.manual_seed(7)  # for the random decorrelation
    loss = DRLTrainer.compute_loss(trainer, parallel, part_of(global_batch(), rows))
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.save({"loss": loss.detach(), "gradients": gradients}, folder / f"{name}-{rank}.pt")


def gather_ragged(rank: int, folder: Path) -> None:
    """Gathers features that differ in length between the processes, and sends a gradient back through them."""
    length = 2 + rank  # tokens
    tokens = torch.arange(1.0, 1 + 2 * length).reshape(2, length, 1) * (10**rank)
    tokens.requires_grad_()
    weights = torch.full((2, length), 1 / length, requires_grad=True)
    found = gather_features(DRLFeatures(tokens, weights, torch.ones(2, length, dtype=torch.long)))
    # The loss of rank r weighs every item by (r + 1) times its place. Transposed, its gradient is strided.
    places = torch.arange(1.0, 5.0)
    ((found.tokens.squeeze(-1) + found.weights).T @ places * (rank + 1)).sum().backward()
    torch.save((found.tokens, found.weights, found.mask, tokens.grad, weights.grad), folder / f"ragged-{rank}.pt")


def gather_unequal(rank: int, folder: Path) -> None:
    """Gathers 3 items here and 2 there."""
    count = 3 - rank
    try:
        gather_features(DRLFeatures(torch.zeros(count, 2, 4), torch.zeros(count, 2), torch.ones(count, 2)))
    except ValueError as error:
        (folder / f"unequal-{rank}.txt").write_text(str(error))


def run_process(rank: int, port: int, folder: Path) -> None:
    """All that this file wants of two processes: starting them takes longer than what they do."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for name in FIELDS:
        train_one_step(rank, folder, name)
    gather_ragged(rank, folder)
    gather_unequal(rank, folder)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(make_tiny_model, tmp_path_factory) -> Path:
    """What the processes started from and what they left."""
    folder = tmp_path_factory.mktemp("two")
    for name, fields in FIELDS.items():
        # A large lambda, so that a wrong decorrelation can't hide behind the contrastive loss.
        make_tiny_model(cdcr_lambda=0.5, **fields).save_pretrained(folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(run_process, args=(port, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", FIELDS)
def test_two_processes_have_the_loss_and_the_gradients_of_one(name, folder):
    model = DRLModel.from_pretrained(folder / name).train()
    torch.manual_seed(7)
    loss = model(**global_batch(), return_loss=True).loss
    loss.backward()
    for rank in (0, 1):
        found = torch.load(folder / f"{name}-{rank}.pt")
        assert_close(found["loss"], loss.detach(), atol=1e-6, rtol=1e-6)
        for key, parameter in model.named_parameters():
            wanted, gradient = parameter.grad, found["gradients"][key]
            assert wanted.isfinite().all(), key
            # Gradients that cancel out, of a key's bias say, are noise: the tolerance is of the largest or absolute.
            tolerance = 1e-5 * max(wanted.abs().max().item(), 1.0 if key.endswith("k_proj.bias") else 5e-2)
            assert_close(gradient, wanted, atol=tolerance, rtol=0, msg=lambda text, key=key: f"{key}: {text}")
    moved = {key for key, parameter in model.named_parameters() if parameter.grad.abs().max() > 1e-4}
    assert {"text_projection.weight", "visual_projection.weight", "logit_scale"} <= moved


def test_features_of_unlike_length_are_padded_and_their_gradients_come_home(folder):
    results = [torch.load(folder / f"ragged-{rank}.pt") for rank in (0, 1)]
    for tokens, weights, mask, _, _ in results:
        assert tokens.squeeze(-1).tolist() == [[1, 2, 0], [3, 4, 0], [10, 20, 30], [40, 50, 60]]
        assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]] * 2 + [[1 / 3] * 3] * 2))
        assert mask.tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    # Summed over the losses of both processes: (1 + 2) times the place.
    for rank, wanted in enumerate(([3.0, 6.0], [9.0, 12.0])):
        length = 2 + rank
        for gradient in results[rank][3:]:
            assert gradient.reshape(2, length).tolist() == [[value] * length for value in wanted]


def test_unequal_numbers_of_items_are_an_error_on_every_process(folder):
    for rank in (0, 1):
        assert "[3, 2] items" in (folder / f"unequal-{rank}.txt").read_text()
