"""Every option of `Trainer` and `TrainingArguments` works or is refused, and the documentation lists the latter."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from drl_tvr import DRLTrainingArguments
from drl_tvr.training.refused_options import REFUSED_ARGUMENTS, REFUSED_PARAMETERS


DOCUMENTATION = Path(__file__).parents[2] / "docs" / "source" / "en" / "training.md"
WORKING_PARAMETERS = """
    args callbacks data_collator eval_dataset model optimizer_cls_and_kwargs optimizers processing_class train_dataset
"""
# A new field of a later transformers belongs here, when it was tried, or into REFUSED_ARGUMENTS.
WORKING_ARGUMENTS = """
    accelerator_config activation_checkpointing activation_checkpointing_kwargs adam_beta1 adam_beta2 adam_epsilon bf16
    data_seed dataloader_drop_last dataloader_in_order dataloader_multiprocessing_context dataloader_num_workers
    dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers
    ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout deepspeed disable_tqdm do_eval do_predict
    do_train enable_jit_checkpoint eval_delay eval_on_start eval_steps eval_strategy fp16 fsdp fsdp_config
    full_determinism gradient_accumulation_steps gradient_checkpointing gradient_checkpointing_kwargs greater_is_better
    hub_model_id hub_private_repo hub_revision hub_token ignore_data_skip include_num_input_tokens_seen learning_rate
    load_best_model_at_end local_rank log_level log_level_replica log_on_each_node logging_first_step logging_steps
    logging_strategy lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_steps metric_for_best_model
    neftune_noise_alpha num_train_epochs optim_args output_dir per_device_eval_batch_size per_device_train_batch_size
    project push_to_hub report_to restore_callback_states_from_checkpoint resume_from_checkpoint run_name
    save_on_each_node save_only_model save_steps save_strategy save_total_limit seed skip_memory_metrics tf32
    torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps trackio_bucket_id trackio_space_id
    trackio_static_space_id use_cpu warmup_steps weight_decay
"""
ANOTHER_VALUE = {
    "label_smoothing_factor": 0.1,
    "label_names": ["labels"],
    "include_for_metrics": ["inputs"],
    "eval_accumulation_steps": 2,
    "train_sampling_strategy": "group_by_length",
    "length_column_name": "words",
    "parallelism_config": object(),
    "optim": "galore_adamw",
    "optim_target_modules": ["mlp"],
    "liger_kernel_config": {"swiglu": True},
    "debug": "underflow_overflow",
    "hub_strategy": "every_save",
}


def test_every_option_works_or_is_refused():
    parameters = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert parameters == set(WORKING_PARAMETERS.split()) | set(REFUSED_PARAMETERS)
    arguments = {field.name for field in dataclasses.fields(TrainingArguments)}
    refused = {name for name in REFUSED_ARGUMENTS if "." not in name}
    assert arguments == set(WORKING_ARGUMENTS.split()) | refused
    assert not set(WORKING_ARGUMENTS.split()) & refused


@pytest.mark.parametrize("name", REFUSED_PARAMETERS)
def test_a_parameter_without_effect_is_refused(name, make_trainer):
    with pytest.raises(ValueError, match=f"`{name}`: found a function, expected None: "):
        make_trainer(options={name: lambda *args: None})


@pytest.mark.parametrize("name", REFUSED_ARGUMENTS)
def test_an_argument_without_effect_is_refused(name, make_trainer, monkeypatch):
    trainer = make_trainer()  # whose arguments are taken
    owner, _, field = name.rpartition(".")
    owner = getattr(trainer.args, owner) if owner else trainer.args
    monkeypatch.setattr(owner, field, ANOTHER_VALUE.get(name, not getattr(owner, field)))
    with pytest.raises(ValueError, match=f"`{name}`: found .*, expected "):
        make_trainer(options={"args": trainer.args})


def test_optimizers_that_choose_their_own_parameters_are_refused(make_trainer):
    accepted, _ = REFUSED_ARGUMENTS["optim"]
    assert {name.value for name in set(OptimizerNames) - set(accepted)} == {
        *("galore_adamw", "galore_adamw_8bit", "galore_adafactor", "galore_adamw_layerwise"),
        *("galore_adamw_8bit_layerwise", "galore_adafactor_layerwise", "apollo_adamw", "apollo_adamw_layerwise"),
        *("lomo", "adalomo"),
    }
    for name in ("sgd", "adafactor", "rmsprop", "adagrad"):
        rates = [group["lr"] for group in make_trainer(optim=name).create_optimizer().param_groups]
        assert set(rates) == {1e-3, 5e-4}


def test_an_optimizer_of_ones_own_has_the_three_rates(make_trainer):
    own = {"optimizer_cls_and_kwargs": (torch.optim.SGD, {"momentum": 0.5})}
    trainer = make_trainer(options=own, logit_scale_learning_rate=1e-2, max_steps=1)
    trainer.train()
    optimizer = trainer.optimizer.optimizer
    assert type(optimizer) is torch.optim.SGD
    assert {group["initial_lr"] for group in optimizer.param_groups} == {1e-3, 5e-4, 1e-2}
    assert {group["momentum"] for group in optimizer.param_groups} == {0.5}
    with pytest.raises(ValueError, match="`optimizer_cls_and_kwargs`: found a tuple, expected None"):
        make_trainer(options=own, official_optimizer=True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fp16": True}, "`fp16`: found True, expected False on a CPU"),
        ({"optim_args": "foo=1"}, "`optim_args`: found 'foo=1', expected None with `optim='adamw_torch"),
        (
            {"optim_args": "momentum=0.5", "optim": "sgd", "official_optimizer": True},
            "expected None with `official_opt",
        ),
        ({"official_optimizer": True, "options": {"optimizers": (object(), None)}}, "`optimizers`: found a tuple"),
    ],
)
def test_what_would_have_no_effect_beside_another_option_is_refused(fields, said, make_trainer):
    with pytest.raises(ValueError, match=said):
        make_trainer(**fields)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, (-1e-3, float("nan"), float("inf"))) for name in ("weight_decay", "max_grad_norm", "learning_rate")),
        *((name, (0, -1)) for name in ("gradient_accumulation_steps", "per_device_train_batch_size")),
        *((name, (0, -1)) for name in ("per_device_eval_batch_size", "gradient_cache_chunk_size")),
        *((name, (-1, float("nan"))) for name in ("warmup_steps", "num_train_epochs", "adam_epsilon", "eval_delay")),
    ],
)
def test_a_number_out_of_range_is_refused(name, values, tmp_path):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}`: found {value}, expected .*at least"):
            DRLTrainingArguments(str(tmp_path), use_cpu=True, **{name: value})


def as_table(rows) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def test_the_documentation_lists_what_is_refused():
    text = DOCUMENTATION.read_text(encoding="utf-8")
    parameters = [(f"`{name}`", reason) for name, reason in REFUSED_PARAMETERS.items()]
    arguments = [
        (f"`{name}`", "others" if name == "optim" else " or ".join(f"`{value!r}`" for value in accepted), reason)
        for name, (accepted, reason) in REFUSED_ARGUMENTS.items()
    ]
    for table in (
        as_table([("option", "why"), ("---", "---"), *parameters]),
        as_table([("option", "taken", "why others are not"), ("---", "---", "---"), *arguments]),
    ):
        assert table in text, f"{DOCUMENTATION.name} needs this table:\n{table}"
