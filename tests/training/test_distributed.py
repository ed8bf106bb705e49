"""Real processes give the loss and the gradients of one with the same global batch, to 1e-6 of their size.

In float64: float32 would differ by more than that through the order of its sums alone.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from drl_tvr import DRLFeatures, DRLModel, DRLTrainer
from drl_tvr.data.loading import share_of
from drl_tvr.training.global_batches import GlobalBatchSampler
from drl_tvr.training.global_loss import gather_features


# Of unlike length, so that each process pads to its own longest.
WORDS, FRAMES = (6, 3, 4, 9, 5, 7, 3), (2, 3, 6, 1, 4, 2, 5)
# Processes and pairs of the global batch: uneven, and with no pair for the first of four processes.
SHARES = [(2, 5), (4, 7), (4, 3)]


def global_batch(num_pairs: int) -> dict[str, torch.Tensor]:
    """Pairs of unlike length."""
    generator = torch.Generator().manual_seed(5)
    texts = torch.randint(0, 500, (num_pairs, max(WORDS)), generator=generator)
    words = torch.tensor(WORDS[:num_pairs])[:, None] > torch.arange(max(WORDS))
    frames = torch.tensor(FRAMES[:num_pairs])[:, None] > torch.arange(max(FRAMES))
    for row, length in enumerate(WORDS[:num_pairs]):
        texts[row, length - 1 :] = 520  # EOS
    pixels = torch.randn(num_pairs, max(FRAMES), 3, 32, 32, generator=generator, dtype=torch.float64)
    return {
        "input_ids": texts,
        "attention_mask": words.long(),
        "pixel_values_videos": pixels * frames[..., None, None, None],
        "video_mask": frames.long(),
    }


def part_of(batch: dict[str, torch.Tensor], rows: slice) -> dict[str, torch.Tensor]:
    """Some pairs, without the padding that they don't need; a stand-in in place of none."""
    num_pairs = rows.stop - rows.start
    rows = rows if num_pairs else slice(0, 1)
    longest = {
        "text": int(batch["attention_mask"][rows].sum(1).max()),
        "video": int(batch["video_mask"][rows].sum(1).max()),
    }
    part = {
        name: value[rows, : longest["text" if name in ("input_ids", "attention_mask") else "video"]]
        for name, value in batch.items()
    }
    return {**part, "num_pairs": num_pairs}


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


def load(folder: Path, name: str) -> DRLModel:
    return DRLModel.from_pretrained(folder / name, dtype=torch.float64).train()


def train_one_step(rank: int, processes: int, num_pairs: int, folder: Path, name: str) -> None:
    """One process: the trainer's own `compute_loss` on DistributedDataParallel as `Trainer` sets it up."""
    model = load(folder, name)
    trainer = SimpleNamespace(_loss_parts={})
    share = share_of(num_pairs, rank, processes)
    parallel = DistributedDataParallel(model, find_unused_parameters=True)
    torch.manual_seed(7 + rank)  # for the random decorrelation; the first process decides
    loss = DRLTrainer.compute_loss(trainer, parallel, part_of(global_batch(num_pairs), share))
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.save({"loss": loss.detach(), "gradients": gradients}, folder / f"{name}-{processes}-{num_pairs}-{rank}.pt")


def gather_ragged(rank: int, folder: Path) -> None:
    """Gathers features of unlike number and length, and sends a gradient back through them."""
    count, length = 1 + rank, 2 + rank  # items, tokens
    tokens = torch.arange(1.0, 1 + count * length).reshape(count, length, 1) * (10**rank)
    tokens.requires_grad_()
    weights = torch.full((count, length), 1 / length, requires_grad=True)
    found = gather_features(DRLFeatures(tokens, weights, torch.ones(count, length, dtype=torch.long)))
    # The loss of rank r weighs every item by (r + 1) times its place. Transposed, its gradient is strided.
    places = torch.arange(1.0, 4.0)
    ((found.tokens.squeeze(-1) + found.weights).T @ places * (rank + 1)).sum().backward()
    torch.save((found.tokens, found.weights, found.mask, tokens.grad, weights.grad), folder / f"ragged-{rank}.pt")


def run_process(rank: int, processes: int, folder: Path) -> None:
    """Do all that this file wants of two or of four processes."""
    dist.init_process_group("gloo")
    for name in FIELDS:
        for _, num_pairs in [share for share in SHARES if share[0] == processes]:
            train_one_step(rank, processes, num_pairs, folder, name)
    if processes == 2:
        gather_ragged(rank, folder)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(make_tiny_model, run_ranks, tmp_path_factory) -> Path:
    """What the processes started from and what they left."""
    folder = tmp_path_factory.mktemp("processes")
    for name, fields in FIELDS.items():
        # A large lambda, so that a wrong decorrelation can't hide behind the contrastive loss.
        make_tiny_model(cdcr_lambda=0.5, **fields).save_pretrained(folder / name)
    for processes in (2, 4):
        run_ranks(processes, run_process, processes, folder)
    return folder


@pytest.mark.parametrize(("processes", "num_pairs"), SHARES)
@pytest.mark.parametrize("name", FIELDS)
def test_processes_have_the_loss_and_the_gradients_of_one(name, processes, num_pairs, folder):
    model = load(folder, name)
    torch.manual_seed(7)
    loss = model(**global_batch(num_pairs), return_loss=True).loss
    loss.backward()
    wanted = {key: parameter.grad for key, parameter in model.named_parameters()}
    norm = torch.stack([gradient.norm() for gradient in wanted.values()]).norm()
    for rank in range(processes):
        found = torch.load(folder / f"{name}-{processes}-{num_pairs}-{rank}.pt")
        assert found["loss"].item() == pytest.approx(loss.item(), rel=1e-6)
        for key, gradient in wanted.items():
            assert gradient.isfinite().all(), key
            # What cancels out, the gradient of a key's bias say, is noise: next to nothing of the whole.
            tolerance = 1e-6 * gradient.norm() + 1e-12 * norm
            assert (found["gradients"][key] - gradient).norm() <= tolerance, (rank, key)
    moved = {key for key, gradient in wanted.items() if gradient.norm() > 1e-4 * norm}
    assert {"text_projection.weight", "visual_projection.weight"} <= moved


def test_features_of_unlike_length_are_padded_and_their_gradients_come_home(folder):
    results = [torch.load(folder / f"ragged-{rank}.pt") for rank in (0, 1)]
    for tokens, weights, mask, _, _ in results:
        assert tokens.squeeze(-1).tolist() == [[1, 2, 0], [10, 20, 30], [40, 50, 60]]
        torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]] + [[1 / 3] * 3] * 2))
        assert mask.tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    # Summed over the losses of both processes: (1 + 2) times the place.
    for rank, wanted in enumerate(([3.0], [6.0, 9.0])):
        for gradient in results[rank][3:]:
            assert gradient.reshape(1 + rank, 2 + rank).tolist() == [[value] * (2 + rank) for value in wanted]


def test_shares_are_contiguous_even_and_whole():
    for num_items in range(10):
        for processes in range(1, 5):
            parts = [range(num_items)[share_of(num_items, rank, processes)] for rank in range(processes)]
            assert [item for part in parts for item in part] == list(range(num_items))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("drop_last", [True, False])
def test_the_processes_batches_make_up_those_of_a_single_process(drop_last):
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    batches = GlobalBatchSampler(order, batch_size=2, num_processes=4, drop_last=drop_last)
    shares = list(batches)
    wanted = [order[:8]] + ([] if drop_last else [order[8:]])
    assert len(shares) == len(batches) == 4 * len(wanted)
    assert [sum(shares[start : start + 4], []) for start in range(0, len(shares), 4)] == wanted
    assert [len(share) for share in shares[4:]] == ([] if drop_last else [0, 1, 0, 1])
