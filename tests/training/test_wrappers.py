"""A model inside `torch.compile`, PEFT or another wrapper: each parameter moves at its rate, is saved and loaded."""

import pytest
import torch
from torch.nn.parallel import DataParallel

from drl_tvr import DRLModel
from drl_tvr.training.wrappers import clip_parameter_names, find_drl_model, plain_name


RATES = {"learning_rate": 1e-3, "clip_learning_rate": 1e-5, "logit_scale_learning_rate": 1e-4}
# One step of Adam without weight decay changes a parameter by the learning rate, wherever it has a gradient.
ONE_STEP = {
    **RATES,
    "max_steps": 1,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "adam_epsilon": 1e-15,
}


class Adapted(torch.nn.Module):
    """A frozen layer and a correction of low rank, named as PEFT names them."""

    def __init__(self, layer: torch.nn.Linear):
        super().__init__()
        self.base_layer = layer.requires_grad_(False)
        self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(layer.in_features, 2, bias=False)})
        self.lora_B = torch.nn.ModuleDict({"default": torch.nn.Linear(2, layer.out_features, bias=False)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x))


class LikePeft(torch.nn.Module):
    """A wrapper whose parameters have PEFT's names: an adapter in the vision tower, the text tower as it is."""

    def __init__(self, model: DRLModel):
        super().__init__()
        attention = model.vision_model.encoder.layers[0].self_attn
        attention.q_proj = Adapted(attention.q_proj)
        self.base_model = torch.nn.Module()
        self.base_model.model = model

    def forward(self, **inputs):
        return self.base_model.model(**inputs)


WRAPPERS = {
    "plain": lambda model: model,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "parallel": DataParallel,
    "like_peft": LikePeft,
    "compiled_like_peft": lambda model: torch.compile(LikePeft(model), backend="eager"),
}


def wanted_rate(name: str) -> float:
    """The learning rate of a parameter, by what its name holds."""
    if name.endswith("logit_scale"):
        return RATES["logit_scale_learning_rate"]
    of_clip = any(part in name for part in ("text_model", "vision_model", "text_projection", "visual_projection"))
    added = "lora_" in name or "modules_to_save" in name
    return RATES["clip_learning_rate" if of_clip and not added else "learning_rate"]


def check_one_step(trainer) -> None:
    """Train one step, and compare how far each parameter moves with its learning rate."""
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    with torch.compiler.set_stance("force_eager"):  # names of a compiled model, without compiling
        trainer.train()
    rates = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    trained = 0
    for name, parameter in trainer.model.named_parameters():
        moved = (parameter - before[name]).abs().max().item()
        if parameter.requires_grad:
            trained += 1
            assert rates[id(parameter)] == wanted_rate(name), name
            # Softmax does not depend on the bias of the keys; the second matrix of PEFT's adapters starts at 0, so the
            # first has no gradient in the first step.
            if "lora_A" not in name and not name.endswith("k_proj.bias"):
                assert moved == pytest.approx(wanted_rate(name), rel=0.02), name
        else:
            assert moved == 0, name
    assert trained == len(rates) > 0


@pytest.mark.parametrize("kind", WRAPPERS)
def test_every_parameter_moves_at_its_rate(kind, make_trainer, make_tiny_model):
    check_one_step(make_trainer(WRAPPERS[kind](make_tiny_model()), **ONE_STEP))


@pytest.mark.parametrize("fields", [{"interaction": "mlp"}, {"interaction": "xti", "cdcr": "none"}])
def test_every_parameter_moves_at_its_rate_in_chunks_too(fields, make_trainer, make_tiny_model):
    model = LikePeft(make_tiny_model(**fields))
    check_one_step(make_trainer(model, gradient_cache_chunk_size=3, **ONE_STEP))


def test_every_parameter_moves_at_its_rate_when_the_trainer_compiles(make_trainer):
    check_one_step(make_trainer(torch_compile=True, torch_compile_backend="eager", **ONE_STEP))


def test_the_official_optimizer_has_the_same_rates(make_trainer, make_tiny_model):
    trainer = make_trainer(LikePeft(make_tiny_model()), official_optimizer=True, **RATES)
    optimizer = trainer.create_optimizer()
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == (wanted_rate(name), 0.0 if name.endswith("bias") else 0.2), name


@pytest.mark.parametrize("wrap", [WRAPPERS["compiled"], DataParallel])
def test_a_peft_model_of_a_wrapped_model_is_refused(wrap, make_trainer, make_tiny_model):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=2)
    model = peft.get_peft_model(wrap(make_tiny_model()), config)
    for whole in (model, WRAPPERS["compiled"](model)):
        with pytest.raises(
            ValueError, match=r"found a PeftModel of a model in a wrapper, .* `torch.compile\(get_peft"
        ):
            make_trainer(whole)
    make_trainer(WRAPPERS["compiled"](peft.get_peft_model(make_tiny_model(), config)))


def test_a_module_of_a_subclass_is_new(make_tiny_model, make_trainer):
    model = make_tiny_model()
    model.more = torch.nn.Linear(2, 2)
    groups = make_trainer(model, **RATES).create_optimizer().param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates[id(model.more.weight)] == RATES["learning_rate"]


def test_a_compiled_model_is_saved_resumed_and_chosen_as_a_plain_one(make_trainer, make_tiny_model):
    saving = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "load_best_model_at_end": True,
        "max_steps": 2,
    }
    weights = []
    for how in ("plain", "compiled", "compiled"):
        trainer = make_trainer(WRAPPERS[how](make_tiny_model()), output_dir=how, **saving)
        first = f"{trainer.args.output_dir}/checkpoint-1"
        with torch.compiler.set_stance("force_eager"):
            trainer.train(resume_from_checkpoint=first if len(weights) == 2 else None)
        trainer.save_model()
        weights.append(find_drl_model(trainer.model).state_dict())
        saved, report = DRLModel.from_pretrained(trainer.args.output_dir, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert all(torch.equal(saved.state_dict()[name], weight) for name, weight in weights[-1].items())
    for others in weights[1:]:
        assert all(torch.equal(others[name], weight) for name, weight in weights[0].items())


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["temporal_encoder", "text_token_weights"]},
        {"target_modules": "all-linear", "bias": "all", "use_dora": True},
        {"target_modules": ["text_projection"], "modules_to_save": ["visual_projection"]},
    ],
)
def test_peft_trains_adapters_and_modules_to_save_at_the_rate_of_new_modules(settings, make_trainer, make_tiny_model):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(make_tiny_model(), peft.LoraConfig(r=2, **settings))
    check_one_step(make_trainer(model, **ONE_STEP))


def test_an_adapter_is_saved_with_the_processor_and_resumed(make_trainer, make_tiny_model):
    peft = pytest.importorskip("peft")
    config = {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["temporal_encoder"]}
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trained = []
    for resume in (None, "checkpoint-2"):
        trainer = make_trainer(peft.get_peft_model(make_tiny_model(), peft.LoraConfig(**config)), **saving)
        trainer.train(resume_from_checkpoint=resume and f"{trainer.args.output_dir}/{resume}")
        trainer.save_model()
        trained.append(dict(trainer.model.named_parameters()))
    loaded = dict(peft.PeftModel.from_pretrained(make_tiny_model(), trainer.args.output_dir).named_parameters())
    for name, weight in trained[0].items():
        assert torch.equal(trained[1][name], weight) and torch.equal(loaded[name], weight), name


def test_a_part_that_would_be_saved_under_other_names_is_refused(make_trainer, make_tiny_model):
    for wrap in (lambda part: torch.compile(part, backend="eager"), DataParallel):
        model = make_tiny_model()
        model.text_model = wrap(model.text_model)
        with pytest.raises(ValueError, match=r"found `text_model` in a wrapper, .* `model.text_model.compile\(\)`"):
            make_trainer(model)
    model = make_tiny_model()
    model.text_model.compile(backend="eager")
    make_trainer(model)


def test_what_is_not_a_drl_model_is_refused(make_trainer):
    for model in (torch.nn.Linear(1, 1), "outputs/moving-shapes"):
        with pytest.raises(TypeError, match="`model`: found a (Linear|str), expected a DRLModel"):
            make_trainer(model)


def test_names_and_models_are_found_within_any_wrapper(make_tiny_model):
    model = make_tiny_model()
    names = {name for name, _ in model.named_parameters()}
    of_clip = {name for name in names if name.startswith(("text_m", "vision_m", "text_p", "visual_p"))}
    for kind in ("compiled", "parallel"):
        wrapped = torch.nn.parallel.DataParallel(WRAPPERS[kind](model))
        assert {plain_name(name) for name, _ in wrapped.named_parameters()} == names
        assert find_drl_model(wrapped) is model
        assert clip_parameter_names(wrapped) == of_clip
    assert plain_name("base_model.model.temporal_encoder.modules_to_save.default.w") == (
        "temporal_encoder.modules_to_save.default.w"
    )
