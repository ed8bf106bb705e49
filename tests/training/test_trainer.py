"""DRLTrainer on a tiny model and real clips: what it optimises, evaluates, saves and resumes."""

import copy
import inspect
import json
import math
import re
from pathlib import Path

import pytest
import torch
import transformers
from accelerate.utils import FullyShardedDataParallelPlugin
from scoring import score_with
from torch.testing import assert_close
from transformers import Trainer, TrainerCallback

from drl_tvr import (
    DRLModel,
    DRLProcessor,
    DRLTrainer,
    DRLTrainingArguments,
    evaluate_retrieval,
)
from drl_tvr.data.loading import decode_split
from drl_tvr.evaluation import score_texts, twin_accuracy
from drl_tvr.training.fsdp import prepare_fsdp
from drl_tvr.training.optimization import BertAdam
from drl_tvr.training.trainer import OVERRIDDEN_HOOKS


def losses(trainer: DRLTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def metrics_of(trainer: DRLTrainer, prefix: str = "eval") -> dict[str, float]:
    """The retrieval metrics of an evaluation, without its speed."""
    metrics = trainer.evaluate(metric_key_prefix=prefix)
    return {name: value for name, value in metrics.items() if "2" in name}


def whole_matrix(model: DRLModel, processor: DRLProcessor, data) -> torch.Tensor:
    """Similarity of a split by one forward of all its captions and files: nothing of the trainer's."""
    inputs = processor(text=data.captions["caption"][:], videos=data.videos["path"][:], return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**inputs).logits_per_text / model.logit_scale.exp()


@pytest.mark.parametrize(
    ("fields", "steps"),
    [({}, 50), ({"interaction": "mlp", "temporal_encoder": "lstm"}, 3), ({"interaction": "xti", "cdcr": "none"}, 3)],
)
def test_training_moves_every_parameter_and_lowers_the_loss(fields, steps, make_trainer, make_tiny_model):
    trainer = make_trainer(make_tiny_model(**fields), max_steps=steps)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    still = {name for name, parameter in trainer.model.named_parameters() if torch.equal(parameter, before[name])}
    assert not still
    found = losses(trainer)
    # 8 pairs, and a model that knows nothing: the logarithm of 8, for each of the two directions' mean.
    assert found[0] == pytest.approx(math.log(8), abs=0.6)
    # A network that scores pairs takes longer from scratch than this test may.
    assert steps < 50 or sum(found[-10:]) / 10 < sum(found[:10]) / 10 - 0.15


def test_the_parts_of_the_loss_are_logged_and_add_up(make_trainer):
    trainer = make_trainer(max_steps=1)
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    total = entry["contrastive_loss"] + trainer.model.config.cdcr_lambda * entry["cdcr_loss"]
    assert entry["loss"] == pytest.approx(total, abs=1e-3)
    assert entry["cdcr_loss"] > 0
    assert entry["logit_scale"] == pytest.approx(math.exp(2.6592), rel=1e-2)


def test_the_optimizer_has_four_groups_of_the_right_rates_and_decay(make_trainer):
    trainer = make_trainer(learning_rate=1e-4, clip_learning_rate=1e-7, weight_decay=0.2)
    optimizer = trainer.create_optimizer()
    assert [len({id(p) for p in group["params"]}) == len(group["params"]) for group in optimizer.param_groups] == [
        True
    ] * 4
    settings = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    named = dict(trainer.model.named_parameters())
    assert len(settings) == len(named) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in named.items():
        new = name.split(".")[0] in ("temporal_encoder", "text_token_weights", "frame_token_weights")
        plain = parameter.ndim < 2  # biases, norms, the class token, the logit scale
        plain = plain and not name.endswith("class_embedding")
        expected = (1e-4 if new else 1e-7, 0.0 if plain else 0.2)
        assert settings[id(parameter)] == expected, name
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((0.9, 0.98), 1e-6)


def test_the_official_optimizer_decays_all_but_biases(make_trainer):
    rates = {"learning_rate": 1e-4, "clip_learning_rate": 1e-7}
    trainer = make_trainer(official_optimizer=True, optim="sgd", max_steps=20, **rates)  # `optim` says nothing then
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is BertAdam and (optimizer.defaults["betas"], optimizer.defaults["eps"]) == (
        (0.9, 0.98),
        1e-6,
    )
    decays = {
        id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    for name, parameter in trainer.model.named_parameters():
        assert decays[id(parameter)] == (0.0 if name.endswith("bias") else 0.2), name
    schedule = trainer.create_scheduler(20)
    assert schedule.get_last_lr() == [0.0] * len(optimizer.param_groups)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(group["initial_lr"] / 2)


def test_the_official_optimizer_trains_and_resumes(make_trainer):
    saving = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "official_optimizer": True}
    unbroken = make_trainer(output_dir="unbroken", **saving)
    unbroken.train()
    broken = make_trainer(output_dir="broken", options={"callbacks": [StopAfter(3)]}, **saving)
    broken.train()
    resumed = make_trainer(output_dir="broken", **saving)
    resumed.train(resume_from_checkpoint=str(Path(broken.args.output_dir) / "checkpoint-3"))
    for (name, wanted), found in zip(unbroken.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(found, wanted), name
    rates = [entry["learning_rate"] for entry in unbroken.state.log_history if "learning_rate" in entry]
    assert rates[1:] == pytest.approx([5e-4 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(1, 6)])


@pytest.mark.parametrize("interaction", ["wti", "ti", "dp", "mlp", "xti"])
def test_every_gradient_is_finite_at_the_highest_logit_scale(interaction, make_trainer, make_tiny_model):
    # Captions and videos are of unlike length. What stands for the similarity of padding must not flow back.
    model = make_tiny_model(interaction=interaction, logit_scale_init_value=math.log(100))
    batch = next(iter(make_trainer(model).get_train_dataloader()))
    del batch["num_pairs"], batch["rows"]  # which are the trainer's
    batch["video_mask"][0, 2:] = 0
    assert not batch["attention_mask"].all()
    model(**batch, return_loss=True).loss.backward()
    broken = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not broken


def test_frozen_parameters_stay(make_trainer, make_tiny_model):
    model = make_tiny_model()
    model.vision_model.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.vision_model.named_parameters()}
    trainer = make_trainer(model)
    trainer.train()
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.vision_model.named_parameters())


def test_the_logit_scale_stops_at_100(make_trainer, make_tiny_model):
    model = make_tiny_model(logit_scale_init_value=4.61)  # e^4.61 = 100.5
    trainer = make_trainer(model, max_steps=1)
    trainer.train()
    assert model.logit_scale.item() == pytest.approx(math.log(100), abs=1e-6)
    assert model.logit_scale.exp().item() <= 100 * (1 + 1e-6)
    low = make_tiny_model(logit_scale_init_value=2.0)
    make_trainer(low, max_steps=1, clip_learning_rate=0.0).train()
    assert low.logit_scale.item() == 2.0


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_evaluation_scores_the_whole_split_whatever_the_batch(batch_size, make_trainer, tiny_processor, splits):
    trainer = make_trainer(per_device_eval_batch_size=batch_size)
    similarity = whole_matrix(trainer.model, tiny_processor, splits["validation"])
    assert similarity.shape == (10, 10)
    dataset = trainer.eval_dataset
    assert_close(score_with(trainer, dataset), similarity, atol=1e-4, rtol=1e-4)

    owners = splits["validation"].caption_to_video
    wanted = evaluate_retrieval(similarity, owners)
    wanted |= twin_accuracy(similarity, owners, splits["validation"].twins)
    assert len(splits["validation"].twins) == 2
    assert metrics_of(trainer) == {f"eval_{name}": pytest.approx(value) for name, value in wanted.items()}


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_padding_that_counts_is_the_same_in_every_batch(
    batch_size, make_trainer, make_tiny_model, tiny_processor, splits
):
    """The official code pads all to one length; here the longest of a batch would have no padding, and score lower."""
    model = make_tiny_model(padding_similarity="zero")
    with torch.no_grad():  # so that cosines of both signs occur
        model.text_projection.weight.mul_(-1).add_(0.02 * torch.randn_like(model.text_projection.weight))
    with pytest.raises(
        ValueError,
        match="`pad_to_max_frames`: found False, expected True for both",
    ):
        make_trainer(model)
    processor = copy.deepcopy(tiny_processor)
    processor.pad_to_max_length = processor.video_processor.pad_to_max_frames = True
    processor.video_processor.max_frames = 12  # the clips have from 6 on
    trainer = make_trainer(model, processor=processor, per_device_eval_batch_size=batch_size)
    similarity = score_with(trainer, trainer.eval_dataset)
    assert_close(similarity, whole_matrix(model, processor, splits["validation"]), atol=1e-4, rtol=1e-4)
    model.config.padding_similarity = "ignore"
    assert (
        whole_matrix(model, processor, splits["validation"]) - similarity
    ).abs().max() > 0.01  # or it proves nothing
    model.config.padding_similarity = "zero"
    batch = next(iter(trainer.get_train_dataloader()))
    assert (batch["input_ids"].shape[1], batch["video_mask"].shape[1]) == (32, 12)


def test_evaluation_takes_a_split_and_a_prefix_and_several_captions_a_video(make_trainer, tiny_processor, splits):
    trainer = make_trainer()
    metrics = trainer.evaluate(splits["train"], metric_key_prefix="test")
    wanted = evaluate_retrieval(
        whole_matrix(trainer.model, tiny_processor, splits["train"]), splits["train"].caption_to_video
    )
    assert len(splits["train"].captions) == 96
    assert "test_chosen_on_test" not in metrics  # no checkpoint is chosen
    counts = {"num_videos": 16, "expected_videos": 16, "num_captions": 96, "expected_captions": 96}
    assert {name: metrics[f"test_{name}"] for name in counts} == counts
    assert {name: metrics[f"test_{name}"] for name in wanted} == pytest.approx(wanted)
    assert not any("twin" in name for name in metrics)


def test_evaluation_leaves_the_model_in_the_mode_it_found(make_trainer):
    trainer = make_trainer()
    for training in (True, False):
        trainer.model.train(training)
        trainer.evaluate()
        assert trainer.model.training is training


def test_search_scores_sentences_against_the_videos_of_a_split(make_trainer, tiny_processor, splits):
    trainer = make_trainer()
    sentences = ["a red circle rises", "a cat", "a dog runs"]
    dataset = decode_split(splits["test"], tiny_processor.video_processor, trainer.args.frame_cache_dir)
    found = score_texts(trainer.model, tiny_processor, dataset.videos, sentences, show_progress=False)
    inputs = tiny_processor(text=sentences, videos=splits["test"].videos["path"][:], return_tensors="pt")
    with torch.no_grad():
        wanted = trainer.model.eval()(**inputs).logits_per_text / trainer.model.logit_scale.exp()
    assert_close(found, wanted, atol=1e-4, rtol=1e-4)


class StopAfter(TrainerCallback):
    """Ends training as an interrupt does, with the schedule of the whole run."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def test_a_resumed_run_reaches_the_weights_of_an_unbroken_one(make_trainer):
    saving = {"max_steps": 10, "save_strategy": "steps", "save_steps": 3}
    unbroken = make_trainer(output_dir="unbroken", **saving)
    unbroken.train()
    broken = make_trainer(output_dir="broken", options={"callbacks": [StopAfter(3)]}, **saving)
    broken.train()
    checkpoints = sorted(path.name for path in Path(broken.args.output_dir).glob("checkpoint-*"))
    assert "checkpoint-3" in checkpoints and broken.state.global_step == 3
    resumed = make_trainer(output_dir="broken", **saving)
    resumed.train(resume_from_checkpoint=str(Path(broken.args.output_dir) / "checkpoint-3"))
    assert resumed.state.global_step == 10
    for (name, wanted), found in zip(unbroken.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(found, wanted), name
    assert losses(resumed) == losses(unbroken)


def test_the_best_checkpoint_is_the_one_in_the_end(make_trainer, monkeypatch):
    # Scores as if step 2 was the best of steps 1 to 4, and weights that tell the step.
    scores = {1: 10.0, 2: 30.0, 3: 20.0, 4: 30.0}
    trainer = make_trainer(
        eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, load_best_model_at_end=True
    )
    weights = {}

    def evaluate(ranks):
        step = trainer.state.global_step
        weights[step] = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
        return {"t2v_R@1": scores[step]}

    monkeypatch.setattr("drl_tvr.evaluation.evaluator.metrics_of_ranks", evaluate)
    trainer.train()
    assert {entry["eval_chosen_on_test"] for entry in trainer.state.log_history if "eval_t2v_R@1" in entry} == {0.0}
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-2"
    assert trainer.state.best_metric == 30.0
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, weights[2][name]), name
    assert not torch.equal(weights[2]["text_projection.weight"], weights[4]["text_projection.weight"])
    # The best and the last: `save_total_limit` is 2.
    kept = sorted(path.name for path in Path(trainer.args.output_dir).glob("checkpoint-*"))
    assert kept == ["checkpoint-2", "checkpoint-4"]


def test_files_of_the_user_neither_stop_a_run_nor_are_deleted_by_it(make_trainer, tmp_path):
    class Notes(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "notes.txt").write_text("of a callback")

    saving = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer = make_trainer(
        **saving, load_best_model_at_end=True, max_steps=2, save_total_limit=1, options={"callbacks": [Notes()]}
    )
    folder = Path(trainer.args.output_dir)
    users = [
        folder / name for name in ("checkpoint-0/thesis.tex", "checkpoint-2-old/a", "checkpoint-999999/notes.txt")
    ]
    for file in users:
        file.parent.mkdir(parents=True)
        file.write_text("of the user")
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert all(file.is_file() for file in [*users, best / "notes.txt"])
    assert {path.name for path in folder.glob("checkpoint-*")} == {best.name, *(file.parent.name for file in users)}
    make_trainer(**saving, load_best_model_at_end=True, max_steps=2).train(resume_from_checkpoint=True)


def test_the_saved_folder_is_the_model_and_its_processor(make_trainer, splits, tmp_path):
    trainer = make_trainer()
    trainer.train()
    trainer.save_model(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer_config.json", "processor_config.json"} <= names
    model = DRLModel.from_pretrained(tmp_path / "saved")
    processor = DRLProcessor.from_pretrained(tmp_path / "saved")
    assert not model.training
    found = whole_matrix(model, processor, splits["test"])
    dataset = decode_split(splits["test"], trainer.processing_class.video_processor, trainer.args.frame_cache_dir)
    assert_close(score_with(trainer, dataset), found, atol=1e-4, rtol=1e-4)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("drl", ["DRLModel"])


def test_bf16_trains_and_evaluates_near_float32(make_trainer, make_tiny_model):
    exact, coarse = make_trainer(max_steps=2), make_trainer(max_steps=2, bf16=True)
    for trainer in (exact, coarse):
        trainer.train()
    assert all(parameter.dtype == torch.float32 for parameter in coarse.model.parameters())
    assert losses(coarse) == pytest.approx(losses(exact), abs=0.05)
    assert losses(coarse) != losses(exact)
    similarity = score_with(coarse, coarse.eval_dataset)
    assert similarity.dtype == torch.float32 and not similarity.isnan().any()
    assert_close(similarity, score_with(exact, exact.eval_dataset), atol=0.05, rtol=0)


def test_mixed_precision_is_the_evaluations_too(make_trainer):
    trainer = make_trainer(bf16=True)
    types = set()
    for projection in (trainer.model.text_projection, trainer.model.visual_projection):
        projection.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    trainer.evaluate()
    assert types == {torch.bfloat16}


def test_how_batches_are_fetched_changes_no_weight(make_trainer, make_tiny_model):
    """The decorrelation draws from the generator by which a loader would seed its workers, once an iterator."""
    runs = []
    for workers in ({}, {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}):
        trainer = make_trainer(make_tiny_model(cdcr="random"), max_steps=-1, num_train_epochs=2, **workers)
        trainer.train()
        runs.append((losses(trainer), trainer.model.state_dict()))
    (plain, weights), (found, others) = runs
    assert found == plain and len(plain) > 2
    assert all(torch.equal(others[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize(
    "fields", [{"interaction": "dp"}, {"interaction": "mlp"}, {"cdcr": "random"}], ids=["dp", "mlp", "random"]
)
def test_a_last_batch_of_one_pair_is_refused_before_the_run(fields, make_trainer, make_tiny_model, splits):
    size = len(splits["train"].captions) - 1
    arguments = {"per_device_train_batch_size": size, "dataloader_drop_last": False}
    with pytest.raises(ValueError, match=f"found {size + 1} pairs, expected a last batch of at least two"):
        make_trainer(make_tiny_model(**fields), **arguments)
    make_trainer(make_tiny_model(**{**fields, "cdcr": "none"}), **arguments)
    make_trainer(make_tiny_model(), **arguments)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fsdp_version": 1}, "`fsdp_version`: found 1, expected 2"),
        (
            {"fsdp_version": 2, "state_dict_type": "SHARDED_STATE_DICT"},
            "found SHARDED_STATE_DICT, expected FULL",
        ),
    ],
)
def test_what_fsdp_cannot_save_is_refused(settings, said):
    plugin = FullyShardedDataParallelPlugin(**settings)
    with pytest.raises(ValueError, match=said):
        prepare_fsdp(plugin)


def test_gradient_checkpointing_changes_nothing_but_memory(make_trainer):
    plain, checkpointed = make_trainer(max_steps=2), make_trainer(max_steps=2, gradient_checkpointing=True)
    for trainer in (plain, checkpointed):
        trainer.train()
    assert checkpointed.model.vision_model.encoder.gradient_checkpointing
    for (name, wanted), found in zip(plain.model.named_parameters(), checkpointed.model.parameters(), strict=True):
        assert_close(found, wanted, atol=1e-5, rtol=1e-4, msg=name)


def test_the_defaults_are_the_papers_recipe(tmp_path):
    args = DRLTrainingArguments(str(tmp_path), report_to="none")
    assert (args.learning_rate, args.clip_learning_rate, args.weight_decay) == (1e-4, 1e-7, 0.2)
    assert (args.adam_beta1, args.adam_beta2, args.adam_epsilon) == (0.9, 0.98, 1e-6)
    assert (args.lr_scheduler_type, args.get_warmup_steps(1000), args.num_train_epochs) == ("cosine", 100, 5)
    assert (args.per_device_train_batch_size, args.max_grad_norm, args.seed) == (128, 1.0, 0)
    assert (args.load_best_model_at_end, args.metric_for_best_model, args.greater_is_better) == (True, "t2v_R@1", True)


def test_the_default_arguments_make_a_trainer(splits, frame_cache, make_tiny_model, tiny_processor, tmp_path):
    # With the default `eval_strategy`, `Trainer` insists on an evaluation split when it is made.
    settings = {"report_to": "none", "use_cpu": True, "frame_cache_dir": str(frame_cache)}
    args = DRLTrainingArguments(str(tmp_path), per_device_train_batch_size=8, **settings)
    trainer = DRLTrainer(make_tiny_model(), args, splits["train"], splits["validation"], tiny_processor)
    assert (len(trainer.train_dataset), len(trainer.eval_dataset)) == (96, 10)
    with pytest.raises(ValueError, match="eval_dataset"):
        DRLTrainer(make_tiny_model(), args, splits["train"], None, tiny_processor)


@pytest.mark.parametrize("name", ["learning_rate", "clip_learning_rate"])
def test_a_negative_rate_is_an_error(name, tmp_path):
    with pytest.raises(ValueError, match=f"`{name}`: found -1.0, expected a finite number of at least 0"):
        DRLTrainingArguments(str(tmp_path), report_to="none", **{name: -1.0})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_mean": [0.5, 0.5, 0.5]}, r"`image_mean`: found \[0.5, 0.5, 0.5\], expected \[0.48"),
        ({"rescale_factor": 1.0}, "`rescale_factor`: found"),
        ({"do_normalize": False}, "`do_normalize`: found False, expected True"),
    ],
)
def test_a_processor_that_normalises_otherwise_than_the_model_is_refused(
    settings, said, make_tiny_model, tiny_processor, tmp_path
):
    args = DRLTrainingArguments(str(tmp_path), report_to="none", use_cpu=True, eval_strategy="no", save_strategy="no")
    processor = copy.deepcopy(tiny_processor)
    for name, value in settings.items():
        setattr(processor.video_processor, name, value)
    with pytest.raises(ValueError, match=said):
        DRLTrainer(make_tiny_model(), args, processing_class=processor)


def test_a_trainer_without_a_processor_is_an_error(make_tiny_model, splits, tmp_path):
    args = DRLTrainingArguments(str(tmp_path), report_to="none", use_cpu=True, eval_strategy="no", save_strategy="no")
    with pytest.raises(ValueError, match="`processing_class`: found None, expected the DRLProcessor"):
        DRLTrainer(make_tiny_model(), args, splits["train"])


def test_nothing_to_evaluate_is_an_error(make_tiny_model, tiny_processor, tmp_path):
    args = DRLTrainingArguments(
        str(tmp_path),
        report_to="none",
        use_cpu=True,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    with pytest.raises(ValueError, match="`eval_dataset`: found None"):
        DRLTrainer(make_tiny_model(), args, processing_class=tiny_processor).evaluate()


def test_what_would_be_wrong_is_refused(make_trainer, splits):
    trainer = make_trainer()
    with pytest.raises(NotImplementedError, match="`evaluate`"):
        trainer.predict(splits["test"])
    with pytest.raises(TypeError, match="found a list, expected a RetrievalData or a PairDataset"):
        trainer.evaluate([splits["test"]])


def test_fewer_pairs_than_a_batch_are_an_error(make_trainer, splits):
    pairs = len(splits["train"].captions)
    with pytest.raises(ValueError, match=f"found {pairs} pairs, expected at least {pairs + 1}, one batch"):
        make_trainer(per_device_train_batch_size=pairs + 1)


def test_the_private_hooks_of_transformers_are_as_they_were_tested():
    """A failure names the hook that the installed transformers has changed, or that is not in the table."""
    private = {name for name, value in vars(DRLTrainer).items() if callable(value) and re.fullmatch("_[a-z].*", name)}
    assert private == set(OVERRIDDEN_HOOKS), "overridden private methods and OVERRIDDEN_HOOKS differ"
    for name, parameters in OVERRIDDEN_HOOKS.items():
        assert hasattr(Trainer, name), f"transformers {transformers.__version__} has no Trainer.{name}"
        found = tuple(inspect.signature(getattr(Trainer, name)).parameters)
        assert found == parameters, f"transformers {transformers.__version__} changed Trainer.{name}"
