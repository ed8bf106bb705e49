"""Whole runs of the trainer on real processes: the run of a single one, whatever their number, by DDP and by FSDP2."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from scoring import score_with
from torch.testing import assert_close

from drl_tvr import DRLModel, DRLProcessor, DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.training.fsdp import whole_model


RUNS = {"ddp": 4, "fsdp2": 2}  # and their processes


def shard_on_cpu(mixed_precision: str) -> None:
    """Let accelerate take its FSDP2 path on the CPU, where it would take DDP: its state says what to prepare for."""
    state = Accelerator(cpu=True, mixed_precision=mixed_precision).state
    PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["CLIPEncoderLayer"],
        state_dict_type="FULL_STATE_DICT",
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
    )
    if mixed_precision != "no":  # as accelerate does on a GPU
        state.fsdp_plugin.set_mixed_precision(mixed_precision)


def run(folder: Path, root: Path, name: str, processes: int, resume: bool = False, bf16: bool = False) -> dict:
    """Two epochs of 10 pairs in batches of 8 and 2: on four processes the last batch leaves two without a pair.

    In float64, or in float32 with mixed precision.
    """
    args = DRLTrainingArguments(
        str(folder / (f"{name}-bf16" if bf16 else name)),
        bf16=bf16,
        learning_rate=1e-3,
        clip_learning_rate=5e-4,
        num_train_epochs=2,
        per_device_train_batch_size=8 // processes,
        per_device_eval_batch_size=3,
        dataloader_drop_last=False,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        frame_cache_dir=str(folder / "frames"),
    )
    if name == "fsdp2":
        shard_on_cpu(args.mixed_precision)
    model = DRLModel.from_pretrained(folder / "model", dtype=torch.float32 if bf16 else torch.float64)
    trainer = DRLTrainer(
        model=model,
        args=args,
        train_dataset=load_benchmark("moving-shapes", root, "test"),
        eval_dataset=load_benchmark("moving-shapes", root, "validation"),
        processing_class=DRLProcessor.from_pretrained(folder / "model"),
    )
    dataset = trainer.eval_dataset
    before = score_with(trainer, dataset)
    checkpoint = str(folder / name / "checkpoint-2") if resume else None
    trainer.train(resume_from_checkpoint=checkpoint)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    metrics = [entry for entry in trainer.state.log_history if "eval_t2v_R@1" in entry]
    if not resume and not bf16:
        trainer.save_model(folder / f"{name}-saved")
    return {
        "before": before,
        "after": score_with(trainer, dataset),
        "losses": [entry["loss"] for entry in log],
        "norms": [entry["grad_norm"] for entry in log],
        "metrics": [{key: entry[key] for key in entry if "2" in key} for entry in metrics],
        "weights": {
            key: value.detach()
            for key, value in whole_model(trainer.accelerator.unwrap_model(trainer.model)).state_dict().items()
        },
        "groups": [
            (group["initial_lr"], group["weight_decay"], len(group["params"]))
            for group in trainer.optimizer.param_groups
        ],
        "wrapper": type(trainer.model_wrapped).__name__,
    }


def run_process(rank: int, name: str, folder: Path, root: Path) -> None:
    """Run one of the processes of all runs of a name."""
    processes = RUNS[name]
    torch.save(run(folder, root, name, processes), folder / f"{name}-{rank}.pt")
    if name == "fsdp2":
        torch.save(run(folder, root, name, processes, resume=True), folder / f"{name}-resumed-{rank}.pt")
        torch.save(run(folder, root, name, processes, bf16=True), folder / f"{name}-bf16-{rank}.pt")


@pytest.fixture(scope="module")
def single(make_tiny_model, tiny_processor, small_root, tmp_path_factory) -> tuple[Path, dict, dict]:
    """The folder that all start from, and a single process's run, and its run in mixed precision."""
    folder = tmp_path_factory.mktemp("runs")
    make_tiny_model(cdcr_lambda=0.5).save_pretrained(folder / "model")
    tiny_processor.save_pretrained(folder / "model")
    return folder, run(folder, small_root, "single", 1), run(folder, small_root, "single", 1, bf16=True)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_that_of_a_single_process(name, single, small_root, run_ranks):
    folder, wanted, wanted_bf16 = single
    run_ranks(RUNS[name], run_process, name, folder, small_root)
    assert len(wanted["losses"]) == 4
    for rank in range(RUNS[name]):
        found = torch.load(folder / f"{name}-{rank}.pt")
        assert found["wrapper"] == {"ddp": "DistributedDataParallel", "fsdp2": "FSDPDRLModel"}[name]
        assert found["losses"] == pytest.approx(wanted["losses"], rel=1e-6)
        assert found["norms"] == pytest.approx(wanted["norms"], rel=1e-6)  # before clipping
        assert found["groups"] == wanted["groups"]
        assert torch.equal(found["before"], wanted["before"])
        assert found["metrics"] == wanted["metrics"] and len(wanted["metrics"]) == 2
        assert_close(found["after"], wanted["after"], rtol=1e-6, atol=1e-9)
        for key, weight in wanted["weights"].items():
            assert_close(found["weights"][key], weight, rtol=1e-6, atol=1e-9, msg=key)
        if name == "fsdp2":  # the second epoch alone, from a checkpoint
            resumed = torch.load(folder / f"{name}-resumed-{rank}.pt")
            assert resumed["losses"] == pytest.approx(wanted["losses"], rel=1e-6)
            for key, weight in wanted["weights"].items():
                assert_close(resumed["weights"][key], weight, rtol=1e-6, atol=1e-9, msg=key)
            mixed = torch.load(folder / f"{name}-bf16-{rank}.pt")
            assert mixed["losses"][0] == pytest.approx(wanted_bf16["losses"][0], rel=1e-3)
            assert mixed["losses"] == pytest.approx(wanted_bf16["losses"], abs=0.05)
            # Autocast's rounding alone: FSDP's own would leave losses and sums of gradients 8 binary digits.
            for key in ("losses", "norms"):
                assert any(torch.tensor(value).bfloat16().item() != value for value in mixed[key])
    saved = DRLModel.from_pretrained(folder / f"{name}-saved", dtype=torch.float64)
    for key, weight in wanted["weights"].items():
        assert_close(saved.state_dict()[key], weight, rtol=1e-6, atol=1e-9, msg=key)
