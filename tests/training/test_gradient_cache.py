"""Gradient caching gives the gradients of the whole batch, and keeps what one chunk needs."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.testing import assert_close
from trainer_settings import SETTINGS
from transformers import TrainerCallback
from transformers.models.clip.modeling_clip import CLIPAttention

from drl_tvr import DRLModel, DRLProcessor, DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.training.gradient_cache import GradientCache


WORDS, FRAMES = (6, 3, 4, 9, 7, 2, 5), (2, 3, 6, 1, 4, 6, 2)
CROSS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
FIELDS = {
    "wti": {"cdcr_lambda": 0.5},
    "ti": {"interaction": "ti", "cdcr_lambda": 0.5},
    "dp": {"interaction": "dp", "cdcr_lambda": 0.5},
    "mlp": {"interaction": "mlp", "cdcr_lambda": 0.5},
    "xti": {"interaction": "xti", "cdcr": "none", "cross_config": {**CROSS, "hidden_dropout": 0.3}},
    "argmax-lstm": {"cdcr": "argmax", "temporal_encoder": "lstm", "cdcr_lambda": 0.5},
    "random": {"cdcr": "random", "temporal_encoder": "none", "cdcr_lambda": 0.5},
    "zero": {"padding_similarity": "zero", "cdcr_lambda": 0.5},
}


def pairs(count: int = len(WORDS), full: bool = False) -> dict[str, torch.Tensor]:
    """Pairs of unlike length, with pixels as a loader brings them."""
    generator = torch.Generator().manual_seed(5)
    words = torch.tensor((WORDS * count)[:count])[:, None] > torch.arange(max(WORDS))
    frames = torch.tensor((FRAMES * count)[:count])[:, None] > torch.arange(max(FRAMES))
    if full:
        words, frames = torch.ones_like(words), torch.ones_like(frames)
    texts = torch.randint(0, 500, words.shape, generator=generator)
    texts[torch.arange(count), words.sum(1) - 1] = 520  # EOS
    return {
        "input_ids": texts,
        "attention_mask": words.long(),
        "pixel_values_videos": torch.randint(256, (*frames.shape, 3, 32, 32), generator=generator, dtype=torch.uint8),
        "video_mask": frames.long(),
    }


def encoder_of(model: DRLModel):
    def encode(batch: dict):
        text = model.get_text_features(batch["input_ids"], batch["attention_mask"])
        return text, model.get_video_features(batch["pixel_values_videos"], batch["video_mask"])

    return encode


def with_dropout(model: DRLModel, share: float) -> DRLModel:
    """Attention dropout in all towers and transformers."""
    for module in model.modules():
        if isinstance(module, CLIPAttention):
            module.dropout = share
    return model.double().train()


def take_gradients(model: DRLModel) -> dict[str, torch.Tensor]:
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


def assert_same_gradients(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-6 of a parameter's largest gradient, or, where the gradients cancel out, of the model's."""
    assert found.keys() == wanted.keys()
    largest = max(gradient.abs().max().item() for gradient in wanted.values() if gradient is not None)
    for name, gradient in wanted.items():
        assert gradient is not None and found[name] is not None, name
        own = gradient.abs().max().item()
        tolerance = 1e-6 * own if own > 1e-9 * largest else 1e-12 * largest
        assert_close(found[name], gradient, atol=tolerance, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", FIELDS)
def test_the_gradient_is_that_of_the_whole_batch(name, make_tiny_model):
    model = make_tiny_model(**FIELDS[name]).double().train()
    torch.manual_seed(3)  # dropout of the cross transformer and random tokens: drawn in the loss, once
    loss = model(**pairs(), return_loss=True).loss
    loss.backward()
    wanted = take_gradients(model)
    for chunk_size in (1, 3, len(WORDS), 100):
        cache = GradientCache(encoder_of(model), pairs(), chunk_size)
        torch.manual_seed(3)
        found = model.compare(cache.text, cache.video, return_loss=True).loss
        found.backward()
        cache.backward()
        assert_close(found, loss, atol=1e-6, rtol=1e-6)
        assert_same_gradients(take_gradients(model), wanted)


@pytest.mark.parametrize("name", FIELDS)
def test_dropout_is_the_same_in_both_passes(name, make_tiny_model):
    model = with_dropout(make_tiny_model(**FIELDS[name]), 0.4)
    encode = encoder_of(model)
    chunk_size = 3
    # The same chunks, whose graphs are all kept.
    torch.manual_seed(3)
    chunks = [{k: v[start : start + chunk_size] for k, v in pairs().items()} for start in range(0, 7, chunk_size)]
    sides = []
    for parts in zip(*(encode(chunk) for chunk in chunks), strict=True):
        whole = type(parts[0])(*(torch.cat([part[k] for part in parts]) for k in ("tokens", "weights", "mask")))
        sides.append(whole)
    model.compare(*sides, return_loss=True).loss.backward()
    next_random = torch.rand(3)
    wanted = take_gradients(model)

    torch.manual_seed(3)
    cache = GradientCache(encode, pairs(), chunk_size)
    model.compare(cache.text, cache.video, return_loss=True).loss.backward()
    cache.backward()
    assert torch.equal(torch.rand(3), next_random)  # as if there had been one pass
    assert_same_gradients(take_gradients(model), wanted)

    torch.manual_seed(4)
    other = GradientCache(encode, pairs(), chunk_size)
    assert not torch.equal(other.video.tokens, cache.video.tokens)  # there is dropout


def test_what_is_kept_for_the_backward_pass_follows_the_chunk(make_tiny_model):
    model = make_tiny_model().train()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    live = peak = 0

    class Kept:
        """A tensor that the encoders keep, counted while it lives; parameters live anyway."""

        def __init__(self, tensor: torch.Tensor):
            nonlocal live, peak
            self.tensor = tensor
            self.size = 0 if tensor.untyped_storage().data_ptr() in parameters else tensor.nbytes
            live += self.size
            peak = max(peak, live)

        def __del__(self):
            nonlocal live
            live -= self.size

    def encode(batch: dict):
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            return encoder_of(model)(batch)

    def peak_of(count: int, chunk_size: int) -> int:
        nonlocal peak
        peak = 0
        cache = GradientCache(encode, pairs(count, full=True), chunk_size)
        assert peak == 0  # the first pass keeps nothing
        model.compare(cache.text, cache.video, return_loss=True).loss.backward()
        cache.backward()
        assert live == 0
        return peak

    assert peak_of(8, 2) == peak_of(4, 2) == peak_of(2, 2)
    assert peak_of(8, 8) == pytest.approx(4 * peak_of(8, 2), rel=0.01)


def test_a_batch_whose_entries_differ_in_length_is_refused(make_tiny_model):
    batch = {**pairs(), "video_mask": pairs()["video_mask"][:5]}
    with pytest.raises(ValueError, match="found the numbers of rows .*'video_mask': 5"):
        GradientCache(encoder_of(make_tiny_model()), batch, 2)


def test_towers_that_do_not_learn_cost_no_second_graph(make_tiny_model):
    model = make_tiny_model(interaction="ti", cdcr="none", temporal_encoder="none").train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name == "logit_scale"
    cache = GradientCache(encoder_of(model), pairs(), 3)
    model.compare(cache.text, cache.video, return_loss=True).loss.backward()
    cache.backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["logit_scale"]


@pytest.mark.parametrize("size", [0, -4])
def test_a_chunk_without_pairs_is_refused(size, tmp_path):
    with pytest.raises(ValueError, match=f"`gradient_cache_chunk_size`: found {size}, expected at least 1"):
        DRLTrainingArguments(str(tmp_path), report_to="none", gradient_cache_chunk_size=size)


def test_an_optimiser_that_makes_the_backward_pass_its_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected None with `optim='lomo'`"):
        DRLTrainingArguments(str(tmp_path), report_to="none", gradient_cache_chunk_size=2, optim="lomo")


class GradientRecorder(TrainerCallback):
    """Keeps the gradients that the first optimiser step gets."""

    def __init__(self):
        self.gradients = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.gradients is None:
            self.gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def run_trainer(folder: Path, model: DRLModel, chunk_size: int | None, num_pairs: int | None = None, **settings):
    """Train on (the first `num_pairs` of) the real clips in `folder`: the trainer, and its first step's gradients."""
    recorder = GradientRecorder()
    own = {"max_steps": 3, "per_device_train_batch_size": 7, "frame_cache_dir": str(folder / "frames")}
    arguments = {**SETTINGS, **own, "gradient_cache_chunk_size": chunk_size, **settings}
    args = DRLTrainingArguments(str(folder / "run"), **arguments)
    train = load_benchmark("moving-shapes", folder / "clips", "train")
    processor = DRLProcessor.from_pretrained(folder / "processor")
    trainer = DRLTrainer(model, args, train, processing_class=processor, callbacks=[recorder])
    del trainer.train_dataset.captions.captions[num_pairs or len(train.captions) :]
    trainer.train()
    return trainer, recorder.gradients


def logs_of(trainer: DRLTrainer) -> list[dict]:
    names = ("loss", "contrastive_loss", "cdcr_loss", "grad_norm", "logit_scale")
    return [{name: entry[name] for name in names} for entry in trainer.state.log_history if "grad_norm" in entry]


@pytest.fixture(scope="module")
def folder(small_root, tiny_processor, make_tiny_model, tmp_path_factory) -> Path:
    """Real clips, their frames, and a processor."""
    folder = tmp_path_factory.mktemp("gradient-cache")
    (folder / "clips").symlink_to(small_root)
    tiny_processor.save_pretrained(folder / "processor")
    run_trainer(folder, make_tiny_model(), None, max_steps=1)  # decodes
    return folder


@pytest.mark.parametrize(
    "settings",
    [{}, {"gradient_accumulation_steps": 2}, {"gradient_checkpointing": True}],
    ids=["plain", "accumulation", "checkpointing"],
)
def test_a_run_in_chunks_ends_at_the_same_weights(settings, folder, make_tiny_model):
    runs = [run_trainer(folder, make_tiny_model().double(), size, **settings) for size in (None, 3)]
    (plain, wanted), (chunked, found) = runs
    assert_same_gradients(found, wanted)
    assert len(logs_of(plain)) == 3
    for ours, theirs in zip(logs_of(chunked), logs_of(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    for (name, weight), other in zip(plain.model.named_parameters(), chunked.model.parameters(), strict=True):
        assert_close(other, weight, atol=1e-7, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_a_run_in_chunks_repeats_itself_with_dropout(folder, make_tiny_model):
    runs = [run_trainer(folder, with_dropout(make_tiny_model(), 0.3), 3)[0] for _ in range(2)]
    for (name, weight), other in zip(runs[0].model.named_parameters(), runs[1].model.parameters(), strict=True):
        assert torch.equal(other, weight), name


def test_mixed_precision_has_the_same_gradients_in_chunks(folder, make_tiny_model):
    runs = [run_trainer(folder, make_tiny_model(), size, bf16=True, max_steps=1) for size in (None, 7, 3)]
    (_, wanted), *others = runs
    for _, found in others:
        for name, gradient in wanted.items():
            # The features' gradients are added up in float32 before they are rounded, and products round by the chunk.
            assert_close(found[name], gradient, atol=0.05 * gradient.abs().max().item() + 1e-4, rtol=0, msg=name)
            assert found[name].any() == gradient.any(), name
    _, exact = run_trainer(folder, make_tiny_model(), 3, max_steps=1)
    name = "text_projection.weight"
    assert not torch.equal(exact[name], others[1][1][name])  # there is mixed precision


def test_a_scaled_loss_scales_every_gradient(make_tiny_model):
    model = make_tiny_model().double().train()
    gradients = []
    for scale in (1.0, 1024.0):
        cache = GradientCache(encoder_of(model), pairs(), 3)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(model.compare(cache.text, cache.video, return_loss=True).loss).backward()
        cache.backward()
        gradients.append(take_gradients(model))
    assert_same_gradients({name: gradient / 1024 for name, gradient in gradients[1].items()}, gradients[0])


TWO_PROCESSES = {
    "wti": ({}, {}),
    "checkpointing": ({}, {"gradient_accumulation_steps": 2, "gradient_checkpointing": True}),
    # The second step has one pair, and the first process none of it.
    "no-share": ({}, {"num_pairs": 95, "per_device_train_batch_size": 47, "dataloader_drop_last": False}),
    "compiled": ({}, {"torch_compile": True, "torch_compile_backend": "eager"}),
    "mlp-lstm": ({"interaction": "mlp", "temporal_encoder": "lstm"}, {"gradient_accumulation_steps": 2}),
    "xti": ({"interaction": "xti", "cdcr": "none", "cross_config": {**CROSS, "hidden_dropout": 0.0}}, {}),
}


def run_process(rank: int, folder: Path) -> None:
    """Do all that this file wants of two processes."""
    for name, (_, settings) in TWO_PROCESSES.items():
        runs = {}
        for chunk_size in (None, 3):
            model = DRLModel.from_pretrained(folder / name).double()
            trainer, gradients = run_trainer(folder, model, chunk_size, max_steps=2, **settings)
            weights = {key: value.detach() for key, value in trainer.model.named_parameters()}
            runs[chunk_size] = gradients, weights, logs_of(trainer)
        torch.save(runs, folder / f"{name}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(folder, make_tiny_model, run_ranks) -> Path:
    for name, (fields, _) in TWO_PROCESSES.items():
        make_tiny_model(cdcr_lambda=0.5, **fields).save_pretrained(folder / name)
    run_ranks(2, run_process, folder)
    return folder


@pytest.mark.parametrize("name", TWO_PROCESSES)
def test_two_processes_in_chunks_train_as_without(name, two_processes):
    by_rank = [torch.load(two_processes / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for runs in by_rank:
        (wanted, weights, logs), (found, chunked_weights, chunked_logs) = runs[None], runs[3]
        assert_same_gradients(found, wanted)
        for key, weight in weights.items():
            assert_close(chunked_weights[key], weight, atol=1e-7, rtol=0, msg=lambda text, key=key: f"{key}: {text}")
        for ours, theirs in zip(chunked_logs, logs, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3)
    # The processes hold different pairs, and the same average.
    for key, gradient in by_rank[0][3][0].items():
        assert torch.equal(gradient, by_rank[1][3][0][key]), key
