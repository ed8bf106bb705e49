"""A checkpoint is whole when every file is as it was written; what is not whole is refused by name."""

import json
import shutil
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
    write_list,
)


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
    assert said.endswith(f" Delete checkpoint-16 to go on from {folder / 'checkpoint-12'}.")
    flip(folder / "checkpoint-12" / "optimizer.pt")
    with pytest.raises(TrainingCheckpointError, match=r" Delete checkpoint-12, checkpoint-16 to go on from .*point-8"):
        check_complete(folder / "checkpoint-16")
    empty(folder / "checkpoint-8" / "rng_state_1.pth")
    with pytest.raises(TrainingCheckpointError, match="checkpoint-8 to begin at the first step: no other checkpoint"):
        check_complete(folder / "checkpoint-16")


@pytest.mark.parametrize("name", ["scaler.pt", "rng_state_2.pth", "pytorch_model.bin", "adapter/adapter_config.json"])
def test_a_file_that_the_run_did_not_write_is_refused(name, folder):
    (folder / "checkpoint-16" / name).parent.mkdir(exist_ok=True)
    (folder / "checkpoint-16" / name).write_text("{}")
    with pytest.raises(TrainingCheckpointError, match=f"checkpoint-16/{name}: found a file that is not in files.json"):
        check_complete(folder / "checkpoint-16")


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
    said = "checkpoint-999999/files.json: found no file, .* Delete checkpoint-999999 to go on from .*checkpoint-16"
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
