"""A checkpoint is whole when every file is as it was written; what is not whole is refused by name."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from drl_tvr.training import TrainingCheckpointError
from drl_tvr.training.checkpointing import (
    check_complete,
    check_fits,
    check_whole,
    last_checkpoint,
    rotate,
    sha256,
    write_list,
)
from drl_tvr.training.run import Run


FILES = (
    *("config.json", "model.safetensors", "optimizer.pt", "rng_state_0.pth", "rng_state_1.pth", "scheduler.pt"),
    *("optimizer_0/__0_0.distcp", "trainer_state.json"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three whole checkpoints."""
    for step in (8, 12, 16):
        for name in FILES:
            file = tmp_path / f"checkpoint-{step}" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{step} {name}" * 20)
        write_list(tmp_path / f"checkpoint-{step}")
    return tmp_path


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def turn_into_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def link_to_nothing(file: Path) -> None:
    file.unlink()
    file.symlink_to("nothing")


def test_what_is_whole_passes_with_hidden_files_and_in_another_place(folder):
    (folder / "checkpoint-16" / ".nfs0001").write_text("of the system")
    check_complete(shutil.copytree(folder / "checkpoint-16", folder / "elsewhere"))
    check_complete(last_checkpoint(folder))
    listed = json.loads((folder / "checkpoint-16" / "files.json").read_text())
    assert tuple(listed) == tuple(sorted(FILES)) and set(listed["config.json"]) == {"size", "sha256"}


@pytest.mark.parametrize("name", [*FILES, "files.json"])
@pytest.mark.parametrize("damage", [Path.unlink, cut, flip, empty, turn_into_a_folder, link_to_nothing])
def test_a_damaged_file_is_named_and_what_to_delete(damage, name, folder):
    damage(folder / "checkpoint-16" / name)
    assert last_checkpoint(folder) == str(folder / "checkpoint-16")
    with pytest.raises(TrainingCheckpointError) as caught:
        check_complete(folder / "checkpoint-16")
    said = str(caught.value)
    expected = name if (damage, name) != (flip, "files.json") else ""  # which may be about any file, then
    assert said.startswith(str(folder / "checkpoint-16" / expected)) and ": found " in said
    if (damage, name) in [(kind, "files.json") for kind in (Path.unlink, turn_into_a_folder, link_to_nothing)]:
        assert "Delete" not in said and f"write_list({str(folder / 'checkpoint-16')!r})` accepts it" in said
        return
    assert said.endswith(f" Delete checkpoint-16 to go on from {folder / 'checkpoint-12'}.")
    flip(folder / "checkpoint-12" / "optimizer.pt")
    with pytest.raises(TrainingCheckpointError, match=r" Delete checkpoint-12, checkpoint-16 to go on from .*point-8"):
        check_complete(folder / "checkpoint-16")
    empty(folder / "checkpoint-8" / "rng_state_1.pth")
    with pytest.raises(TrainingCheckpointError, match="checkpoint-8 to begin at the first step: no other checkpoint"):
        check_complete(folder / "checkpoint-16")


@pytest.mark.parametrize(
    "name",
    [
        *("scaler.pt", "rng_state_2.pth", "pytorch_model.bin", "adapter/adapter_config.json", "optimizer.bin"),
        *(
            "model.safetensors.index.json",
            "adapter_model.safetensors",
            "optimizer_0/__1_0.distcp",
            "global_step4/a.pt",
        ),
    ],
)
def test_a_file_that_the_run_did_not_write_and_would_load_is_refused(name, folder):
    (folder / "checkpoint-16" / name).parent.mkdir(exist_ok=True)
    (folder / "checkpoint-16" / name).write_text("{}")
    said = (
        f"checkpoint-16/{name}: found a file that is not in files.json, .* Remove this file; the checkpoint is whole."
    )
    with pytest.raises(TrainingCheckpointError, match=said):
        check_complete(folder / "checkpoint-16")


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "Thumbs.db", "desktop.ini", ".DS_Store", ".ipynb_checkpoints/model.safetensors", "ema.pt"),
        *(
            ".cache/huggingface/download/optimizer.pt.metadata",
            "samples/clip.mp4",
            "my optimizer.txt",
            "ema/model.safetensors",
        ),
    ],
)
def test_a_file_that_nothing_loads_does_no_harm(name, folder):
    (folder / "checkpoint-16" / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / "checkpoint-16" / name).write_text("of the user")
    check_complete(folder / "checkpoint-16")


def test_a_checkpoint_without_a_list_is_accepted_by_who_trusts_it(folder):
    for step in (8, 12, 16):
        (folder / f"checkpoint-{step}" / "files.json").unlink()
    with pytest.raises(TrainingCheckpointError, match="files.json: found no file, .* if you trust"):
        check_complete(last_checkpoint(folder))
    write_list(last_checkpoint(folder))
    check_complete(last_checkpoint(folder))


@pytest.mark.parametrize("limit", [1, 2])
def test_only_checkpoints_of_the_run_are_deleted(limit, folder):
    users = [
        *("checkpoint-0/thesis.tex", "checkpoint-2-my-backup/trainer_state.json", "checkpoint-999999/notes.txt"),
        *("checkpoint-best/files.json", "checkpoint-08/files.json", "checkpoint-4/trainer_state.json", "checkpoint-3"),
    ]
    for name in users:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    rotate(folder, limit, None)
    assert all((folder / name).is_file() for name in users)
    kept = [step for step in (8, 12, 16) if (folder / f"checkpoint-{step}").exists()]
    assert kept == [8, 12, 16][-limit:]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"a": 1}', '{"a": {"size": 1}}', "[" * 100_000, "\udcff", '{"a": [1, 2]}']
)
def test_a_list_that_is_not_one_is_refused(content, folder):
    (folder / "checkpoint-16" / "files.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(TrainingCheckpointError, match="checkpoint-16/files.json: found an invalid list .*Delete"):
        check_whole(folder / "checkpoint-16")


def test_a_folder_that_only_looks_like_a_checkpoint_is_refused(folder):
    (folder / "checkpoint-999999").mkdir()
    assert last_checkpoint(folder) == str(folder / "checkpoint-16")
    (folder / "checkpoint-999999" / "trainer_state.json").write_text("{}")
    said = "checkpoint-999999/files.json: found no file, .* move it elsewhere"
    with pytest.raises(TrainingCheckpointError, match=said):
        check_complete(last_checkpoint(folder))


def test_a_checkpoint_of_the_model_alone_is_no_place_to_go_on_from(folder):
    shutil.rmtree(folder / "checkpoint-16" / "optimizer_0")
    (folder / "checkpoint-16" / "optimizer.pt").unlink()
    write_list(folder / "checkpoint-16")
    check_whole(folder / "checkpoint-16")  # as the best one it is good enough
    with pytest.raises(TrainingCheckpointError, match="found no optimizer.pt, .* written with `save_only_model`"):
        check_complete(folder / "checkpoint-16")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    model = torch.nn.Embedding(7, 4)
    save_file({"weight": torch.zeros(7, 4)}, tmp_path / "model.safetensors")
    check_fits(tmp_path, model)
    save_file({"weight": torch.zeros(5, 4)}, tmp_path / "model.safetensors")
    said = r"model.safetensors: found `weight` of shape \[5, 4\], expected \[7, 4\]. .* another vocabulary"
    with pytest.raises(TrainingCheckpointError, match=said):
        check_fits(tmp_path, model)


@pytest.mark.parametrize(("keeps_best", "times"), [(False, 1), (True, 2)])  # again before it is loaded as the best
def test_a_resume_reads_every_file_of_its_checkpoint_once(keeps_best, times, make_trainer, monkeypatch):
    by_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    trainer = make_trainer(load_best_model_at_end=keeps_best, **by_step)
    run = Run.begin(trainer.args)
    trainer.train(run.checkpoint)
    reads: Counter = Counter()

    def count(file: Path) -> str:
        reads[file.name] += 1
        return sha256(file)

    monkeypatch.setattr("drl_tvr.training.checkpointing.sha256", count)
    trainer = make_trainer(load_best_model_at_end=keeps_best, **by_step)
    trainer.train(Run.begin(trainer.args).checkpoint)
    assert trainer.state.global_step == 1
    assert reads.keys() >= {"model.safetensors", "optimizer.pt"} and set(reads.values()) == {times}
