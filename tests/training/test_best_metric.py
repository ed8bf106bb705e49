"""The best checkpoint: by which metric, in which direction, and on which split."""

from pathlib import Path

import pytest
from transformers import EarlyStoppingCallback

from drl_tvr import DRLTrainingArguments


@pytest.mark.parametrize(
    ("metric", "better"),
    [("t2v_R@1", True), ("v2t_R@10", True), ("eval_t2v_MdR", False), ("t2v_MnR", False), ("v2t_MnR", False)],
)
def test_the_best_of_a_metric_is_by_its_own_direction(metric, better, tmp_path):
    def make(**args):
        return DRLTrainingArguments(
            str(tmp_path), report_to="none", use_cpu=True, metric_for_best_model=metric, **args
        )

    assert make().greater_is_better is better
    assert make(greater_is_better=better).greater_is_better is better
    with pytest.raises(ValueError, match=f"`greater_is_better`: found {not better}, expected {better} for"):
        make(greater_is_better=not better)


@pytest.mark.parametrize("kind", ["reduce_lr_on_plateau", "greedy"])
@pytest.mark.parametrize(("metric", "mode"), [("t2v_R@1", "max"), ("v2t_MnR", "min")])
def test_a_schedule_that_follows_the_metric_knows_its_direction(kind, metric, mode, make_trainer):
    trainer = make_trainer(lr_scheduler_type=kind, metric_for_best_model=metric, eval_strategy="epoch")
    trainer.create_optimizer_and_scheduler(4)
    assert trainer.lr_scheduler.mode == mode


BY_STEP = {
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_strategy": "steps",
    "save_steps": 1,
    "load_best_model_at_end": True,
}


def test_the_lowest_rank_is_kept_and_early_stopping_waits_for_a_lower_one(make_trainer, monkeypatch):
    ranks = {1: 4.0, 2: 2.0, 3: 3.0, 4: 3.0}
    callbacks = [EarlyStoppingCallback(early_stopping_patience=2)]
    trainer = make_trainer(options={"callbacks": callbacks}, max_steps=9, metric_for_best_model="v2t_MnR", **BY_STEP)
    monkeypatch.setattr(
        "drl_tvr.evaluation.evaluator.metrics_of_ranks", lambda _: {"v2t_MnR": ranks[trainer.state.global_step]}
    )
    trainer.train()
    assert (trainer.state.global_step, trainer.state.best_global_step, trainer.state.best_metric) == (4, 2, 2.0)
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-2"
    card = (Path(trainer.args.output_dir) / "README.md").read_text()
    assert "the one with the best (lowest) v2t_MnR on the validation split" in card


def test_several_splits_are_evaluated_under_their_names(make_trainer, splits):
    both = {"own": splits["validation"], "other": splits["test"]}
    trainer = make_trainer(
        options={"eval_dataset": both}, max_steps=2, metric_for_best_model="other_t2v_MnR", **BY_STEP
    )
    trainer.train()
    single = make_trainer()
    single.model.load_state_dict(trainer.model.state_dict())
    found = trainer.evaluate()
    for name, split in both.items():
        wanted = single.evaluate(split, metric_key_prefix=f"eval_{name}")
        assert all(found[key] == value for key, value in wanted.items() if "2" in key and "R" in key)
    assert trainer.state.best_metric == min(
        entry["eval_other_t2v_MnR"] for entry in trainer.state.log_history if "eval_other_t2v_MnR" in entry
    )
    logged = [entry for entry in trainer.state.log_history if "eval_own_t2v_R@1" in entry]
    assert len(logged) == 3 and {entry["eval_own_chosen_on_test"] for entry in logged} == {1.0}


def test_early_stopping_finds_its_metric_among_several_splits(make_trainer, splits, monkeypatch, caplog):
    ranks, callback = {1: 2.0, 2: 3.0, 3: 2.0}, EarlyStoppingCallback(early_stopping_patience=2)
    options = {"eval_dataset": {"own": splits["validation"], "other": splits["test"]}, "callbacks": [callback]}
    trainer = make_trainer(options=options, max_steps=5, metric_for_best_model="own_v2t_MnR", **BY_STEP)
    monkeypatch.setattr(
        "drl_tvr.evaluation.evaluator.metrics_of_ranks", lambda _: {"v2t_MnR": ranks[trainer.state.global_step]}
    )
    trainer.train()
    assert (trainer.state.global_step, trainer.state.best_global_step) == (3, 1)
    assert "disabled" not in caplog.text


@pytest.mark.parametrize("name", ["num_videos", "eval_num_captions", "expected_videos", "own_expected_captions"])
def test_a_count_does_not_choose_the_checkpoint(name, make_trainer, splits):
    split = {"own": splits["validation"]} if "own" in name else splits["validation"]
    with pytest.raises(ValueError, match=f"`metric_for_best_model`: found '{name}', expected one of (own_)?t2v_R@1"):
        make_trainer(options={"eval_dataset": split}, metric_for_best_model=name, **BY_STEP)


@pytest.mark.parametrize("metric", ["t2v_R1", "loss", "validation_t2v_R@1", "t2v_twin_accuracy"])
def test_a_metric_that_is_not_measured_is_refused_before_the_run(metric, make_trainer, splits):
    splits = {"eval_dataset": {"train": splits["train"]}}  # without twins
    with pytest.raises(ValueError, match=f"`metric_for_best_model`: found '{metric}', expected one of train_t2v_R@1"):
        make_trainer(options=splits, metric_for_best_model=metric, **BY_STEP)


@pytest.mark.parametrize("name", ["eval_x_t2v_R@1", "eval_eval_x_t2v_R@1"])
def test_a_split_may_have_a_name_that_begins_with_the_prefix(name, make_trainer, splits):
    saving = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    options = {"eval_dataset": {"eval_x": splits["validation"]}}
    trainer = make_trainer(**saving, load_best_model_at_end=True, metric_for_best_model=name, options=options)
    trainer.train()
    (logged,) = [entry for entry in trainer.state.log_history if "eval_eval_x_t2v_R@1" in entry]
    assert trainer.state.best_metric == logged["eval_eval_x_t2v_R@1"]
    assert logged["eval_eval_x_chosen_on_test"] == 0.0
