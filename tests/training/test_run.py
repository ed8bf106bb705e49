"""A run begins, resumes, is refused or is finished, by what its output folder holds."""

import dataclasses
import json
from pathlib import Path

import pytest

from drl_tvr import DRLTrainingArguments
from drl_tvr.evaluation import EvaluationResult, ResultError, make_result
from drl_tvr.training import TrainingCheckpointError
from drl_tvr.training.checkpointing import write_list
from drl_tvr.training.run import DECIDING_ARGUMENTS, AnotherRunError, Run, differences


RECIPE = {"benchmark": "msvd", "model": {"interaction": "wti", "cdcr": "none"}}


@pytest.fixture
def begin(tmp_path):
    """Begins a run in `tmp_path / "out"`."""

    def make(recipe=(), overwrite=False, **args) -> tuple[str | None, bool]:
        args = {"report_to": "none", "use_cpu": True, **args}
        run = Run.begin(DRLTrainingArguments(str(tmp_path / "out"), **args), {**RECIPE, **dict(recipe)}, overwrite)
        return run.checkpoint, run.is_finished

    return make


def make_checkpoints(folder: Path, *steps: int) -> list[str]:
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        for name in ("trainer_state.json", "optimizer.pt"):
            (folder / f"checkpoint-{step}" / name).write_text("{}")
        write_list(folder / f"checkpoint-{step}")
    return [str(folder / f"checkpoint-{step}") for step in steps]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


FILES = {"training_args.json", "recipe.json", ".run.lock"}


def test_a_folder_with_something_else_is_refused_and_left_alone(begin, tmp_path):
    make_checkpoints(tmp_path / "out", 1)
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="out holds 'checkpoint-1' but no training_args.json"):
            begin(overwrite=overwrite)
    assert names(tmp_path / "out") == {"checkpoint-1", "thesis.tex"}


def test_a_file_in_place_of_the_folder_is_refused(begin, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="found the file .*out, expected a folder"):
        begin()


def test_a_new_folder_is_taken_and_says_whose_it_is(begin, tmp_path):
    assert begin() == (None, False)
    assert names(tmp_path / "out") == FILES
    start = {"overwrite": False, "resume_from_checkpoint": None}
    record = {**RECIPE, "num_processes": 1, "start": start}
    assert json.loads((tmp_path / "out" / "recipe.json").read_text()) == record
    assert json.loads((tmp_path / "out" / "training_args.json").read_text())["learning_rate"] == 1e-4


@pytest.mark.parametrize(
    "left",
    [
        (),
        (".run.lock",),
        ("incomplete-checkpoint",),
        ("training_args.json",),
        (".tmp-training_args.json-abc", ".run.lock"),
        ("training_args.json", ".tmp-recipe.json-abc"),
    ],
)
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


def test_a_damaged_checkpoint_is_refused_before_anything_is_touched(begin, tmp_path):
    begin()
    paths = make_checkpoints(tmp_path / "out", 9, 10)
    Path(paths[1], "optimizer.pt").write_text("{")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for given in ({}, {"resume_from_checkpoint": "true"}, {"resume_from_checkpoint": paths[1], "seed": 1}):
        with pytest.raises(TrainingCheckpointError, match="checkpoint-10/optimizer.pt: found 1 bytes, expected the 2"):
            begin(**given)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert begin(resume_from_checkpoint=paths[0]) == (paths[0], False)
    assert names(tmp_path / "out") == {*FILES, "checkpoint-9"}


def test_another_recipe_is_refused_by_the_fields_that_differ_and_nothing_is_touched(begin, tmp_path):
    begin()
    make_checkpoints(tmp_path / "out", 9)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")}
    said = (
        "`seed`: found 0, expected 1; `benchmark`: found 'msvd', expected 'lsmdc'; `model.interaction`: found 'wti', "
    )
    with pytest.raises(AnotherRunError, match=f"{said}expected 'ti'. Choose another `output_dir`"):
        begin({"benchmark": "lsmdc", "model": {"interaction": "ti", "cdcr": "none"}}, seed=1)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")} == before


def test_a_finished_run_is_finished_until_it_is_overwritten(begin, tmp_path):
    out = tmp_path / "out"
    begin()
    make_checkpoints(out, 9)
    for name in ("test_results.json", "model.safetensors"):
        (out / name).write_text("{}")
    assert begin() == (None, True)
    assert begin(overwrite=True) == (None, False)
    assert names(out) == FILES


def test_a_command_that_overwrites_starts_over_once_and_then_goes_on(begin, tmp_path):
    begin()
    make_checkpoints(tmp_path / "out", 9)
    (tmp_path / "out" / "checkpoint-mine").mkdir()
    assert begin(overwrite=True, seed=1) == (None, False)
    assert names(tmp_path / "out") == {*FILES, "checkpoint-mine"}
    (path,) = make_checkpoints(tmp_path / "out", 3)
    assert begin(overwrite=True, seed=1) == (path, False)
    assert begin(seed=1) == (path, False)
    assert begin(overwrite=True, seed=2) == (None, False)
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
    with pytest.raises(AnotherRunError, match="it did not start from .*more/checkpoint-7"):
        begin(resume_from_checkpoint=another)


@pytest.mark.parametrize("given", ["true", "absent/checkpoint-3"])
def test_a_checkpoint_that_is_not_there_is_an_error(given, begin):
    with pytest.raises(
        TrainingCheckpointError, match="`resume_from_checkpoint`: found .*, expected the folder of a complete"
    ):
        begin(resume_from_checkpoint=given)


def test_another_number_of_processes_is_another_run():
    found, wanted = ({}, {"num_processes": 1}), ({}, {"num_processes": 2})
    assert differences(found, wanted) == ["`num_processes`: found 1, expected 2"]


def test_the_arguments_that_decide_are_arguments():
    """A name that transformers gave up would compare nothing."""
    assert set(DECIDING_ARGUMENTS) <= {item.name for item in dataclasses.fields(DRLTrainingArguments)}
    assert len(set(DECIDING_ARGUMENTS)) == len(DECIDING_ARGUMENTS)


def test_every_argument_of_ours_and_what_is_trained_is_compared():
    ours = set(DRLTrainingArguments.__annotations__) - {
        "frame_cache_dir",  # where decoded frames lie
        *("save_total_limit", "logging_steps", "logging_nan_inf_filter", "hub_strategy", "remove_unused_columns"),
    }
    assert ours <= set(DECIDING_ARGUMENTS)


def test_an_option_that_a_new_version_of_transformers_has_refuses_no_run(begin, tmp_path):
    begin()
    (path,) = make_checkpoints(tmp_path / "out", 9)
    file = tmp_path / "out" / "training_args.json"
    arguments = json.loads(file.read_text())
    file.write_text(json.dumps({**arguments, "log_to_the_moon": True, "report_to": ["moon"]}))
    assert begin() == (path, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "expected JSON"), ("[" * 100_000, "expected JSON"), ("[]", "found a list, expected a")],
)
@pytest.mark.parametrize("name", ["recipe.json", "training_args.json"])
def test_a_recipe_that_is_not_json_is_named(name, content, said, begin, tmp_path):
    begin()
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(ValueError, match=f"out/{name}: {said}"):
        begin()


@pytest.mark.parametrize("name", ["recipe.json", "training_args.json"])
@pytest.mark.parametrize("left", ["checkpoint-9", "model.safetensors", "test_results.json", "thesis.tex"])
def test_a_run_without_its_recipe_is_refused_and_nothing_is_touched(name, left, begin, tmp_path):
    out = tmp_path / "out"
    begin()
    make_checkpoints(out, 9) if left == "checkpoint-9" else (out / left).write_text("{}")
    (out / name).unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for given in ({}, {"seed": 1}, {"overwrite": True}, {"resume_from_checkpoint": "true"}):
        with pytest.raises(FileExistsError, match=f"out holds .* but no {name}, .* Nothing is touched; choose"):
            begin(**given)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_run_that_is_finished_leaves_one_result_that_names_its_weights_and_data(tmp_path):
    args = DRLTrainingArguments(str(tmp_path / "out"), report_to="none", use_cpu=True, seed=7)
    run = Run.begin(args, RECIPE)
    (tmp_path / "out" / "model.safetensors").write_bytes(b"weights")
    data = {"benchmark": "msvd", "split": "test", "queries_sha256": "0"}
    result = make_result({"t2v": [1, 2], "v2t": [1, 1]}, [0, 1], data, {"fps": 1}, {})
    with pytest.raises(OSError, match="test_results.json"):
        run.result  # noqa: B018
    run.finish(result, chosen_on="validation", train={"num_videos": 3})
    assert run.is_finished and Run.begin(args, RECIPE).is_finished
    found = EvaluationResult.load(tmp_path / "out" / "test_results.json")
    assert found == run.result
    assert (found.model["name"], found.model["chosen_on"], found.model["fps"]) == ("out", "validation", 1)
    assert found.model["seed"] == 7
    assert list(found.model["sha256"]) == ["model.safetensors"] and found.data["train"] == {"num_videos": 3}
    assert found.metrics["t2v_R@1"] == 50
    (tmp_path / "out" / "test_results.json").write_text("{}")
    with pytest.raises(ResultError, match="test_results.json"):
        Run.begin(args, RECIPE).result  # noqa: B018
