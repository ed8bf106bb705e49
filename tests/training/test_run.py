"""What becomes of an output folder that is there when a run begins."""

import json
from pathlib import Path

import pytest

from drl_tvr import DRLTrainingArguments
from drl_tvr.training import TrainingCheckpointError
from drl_tvr.training.run import AnotherRunError, begin_run


RECIPE = {"data": {"benchmark": "msvd", "search": []}, "model": {"interaction": "wti"}, "launch": {"num_processes": 1}}


@pytest.fixture
def begin(tmp_path):
    """Begins a run in `tmp_path / "out"`."""

    def run(recipe=(), **args):
        args = {"report_to": "none", "use_cpu": True, **args}
        return begin_run(DRLTrainingArguments(str(tmp_path / "out"), **args), {**RECIPE, **dict(recipe)})

    return run


def make_checkpoints(folder: Path, *steps: int) -> list[str]:
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    return [str(folder / f"checkpoint-{step}") for step in steps]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


FILES = {"training_args.json", "recipe.json", ".run.lock"}


def test_a_folder_with_something_else_is_refused_and_left_alone(begin, tmp_path):
    make_checkpoints(tmp_path / "out", 1)
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="out holds 'checkpoint-1' but no training_args.json"):
            begin(overwrite_output_dir=overwrite)
    assert names(tmp_path / "out") == {"checkpoint-1", "thesis.tex"}


def test_a_file_in_place_of_the_folder_is_refused(begin, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="out is a file"):
        begin()


def test_a_new_folder_is_taken_and_says_whose_it_is(begin, tmp_path):
    assert begin() == (None, False)
    assert names(tmp_path / "out") == FILES
    assert json.loads((tmp_path / "out" / "recipe.json").read_text()) == RECIPE
    assert json.loads((tmp_path / "out" / "training_args.json").read_text())["learning_rate"] == 1e-4


@pytest.mark.parametrize("left", [(), (".run.lock",), ("incomplete-checkpoint",), ("training_args.json",)])
def test_a_run_that_was_killed_while_it_began_begins_again(left, begin, tmp_path):
    (tmp_path / "out").mkdir()
    for name in left:
        if "json" in name or "lock" in name:
            (tmp_path / "out" / name).write_text("{}")
        else:
            (tmp_path / "out" / name).mkdir()
            (tmp_path / "out" / name / "training_args.json").write_text("{")
    assert begin() == (None, False)
    assert names(tmp_path / "out") == FILES


def test_the_same_command_goes_on_from_the_last_complete_checkpoint(begin, tmp_path):
    begin()
    paths = make_checkpoints(tmp_path / "out", 9, 10)
    (tmp_path / "out" / "checkpoint-11").mkdir()
    for fields in ({}, {"save_total_limit": 7, "dataloader_num_workers": 3, "disable_tqdm": True}):
        assert begin(**fields) == (paths[1], False)
    assert begin({"data": {"benchmark": "msvd", "search": ["a dog"]}}) == (paths[1], False)


def test_another_recipe_is_refused_by_the_fields_that_differ_and_nothing_is_touched(begin, tmp_path):
    begin()
    make_checkpoints(tmp_path / "out", 9)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")}
    said = "seed is 0 there, 1 here; interaction is 'wti' there, 'ti' here; num_processes is 1 there, 2 here. Choose"
    with pytest.raises(AnotherRunError, match=said):
        begin({"model": {"interaction": "ti"}, "launch": {"num_processes": 2}}, seed=1)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")} == before


def test_a_finished_run_is_finished_until_it_is_overwritten(begin, tmp_path):
    out = tmp_path / "out"
    begin()
    make_checkpoints(out, 9)
    for name in ("test_results.json", "model.safetensors"):
        (out / name).write_text("{}")
    assert begin() == (None, True)
    assert begin(overwrite_output_dir=True) == (None, False)
    assert names(out) == FILES


def test_a_command_that_overwrites_starts_over_once_and_then_goes_on(begin, tmp_path):
    begin()
    make_checkpoints(tmp_path / "out", 9)
    (tmp_path / "out" / "checkpoint-mine").mkdir()
    assert begin(overwrite_output_dir=True, seed=1) == (None, False)
    assert names(tmp_path / "out") == {*FILES, "checkpoint-mine"}
    (path,) = make_checkpoints(tmp_path / "out", 3)
    assert begin(overwrite_output_dir=True, seed=1) == (path, False)
    assert begin(seed=1) == (path, False)
    assert begin(overwrite_output_dir=True, seed=2) == (None, False)
    assert names(tmp_path / "out") == {*FILES, "checkpoint-mine"}


def test_a_checkpoint_of_the_folder_is_gone_on_from_whatever_the_recipe(begin, tmp_path):
    begin()
    paths = make_checkpoints(tmp_path / "out", 1, 2, 3)
    assert begin(resume_from_checkpoint=paths[1], seed=1) == (paths[1], False)
    assert names(tmp_path / "out") == {*FILES, "checkpoint-1", "checkpoint-2"}
    (later,) = make_checkpoints(tmp_path / "out", 4)
    assert begin(resume_from_checkpoint=paths[1], seed=1) == (later, False)
    assert begin(resume_from_checkpoint="true", seed=2) == (later, False)


def test_a_checkpoint_of_another_folder_is_where_a_new_folder_begins(begin, tmp_path):
    (path,) = make_checkpoints(tmp_path / "other", 5)
    assert begin(resume_from_checkpoint=path) == (path, False)
    assert begin(resume_from_checkpoint=path) == (path, False)
    (later,) = make_checkpoints(tmp_path / "out", 6)
    assert begin(resume_from_checkpoint=path) == (later, False)
    (another,) = make_checkpoints(tmp_path / "more", 7)
    with pytest.raises(AnotherRunError, match="it did not begin from .*more/checkpoint-7"):
        begin(resume_from_checkpoint=another)


@pytest.mark.parametrize("given", ["true", "absent/checkpoint-3"])
def test_a_checkpoint_that_is_not_there_is_an_error(given, begin):
    with pytest.raises(TrainingCheckpointError, match="--resume_from_checkpoint: .* is not a complete checkpoint"):
        begin(resume_from_checkpoint=given)
