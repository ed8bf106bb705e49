"""The official optimiser and schedule, groups of parameters, and the limit of the logit scale."""

import math
from collections.abc import Callable

import torch
from transformers import Trainer, TrainerCallback

from .arguments import DRLTrainingArguments
from .wrappers import clip_parameter_names, find_drl_model, plain_name


MAX_LOGIT_SCALE = math.log(100)
# Parts of a model with a learning rate of their own, as the model card calls them.
NEW, CLIP, LOGIT_SCALE = "new modules", "CLIP towers", "logit scale"


class BertAdam(torch.optim.Optimizer):
    r"""Adam without bias correction, with decoupled weight decay, as CLIP4Clip and DRL use it.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
    p \leftarrow p - \mathrm{lr} \Big(\frac{m}{\sqrt v + \epsilon} + \mathrm{wd} \cdot p\Big)$$

    The original also clips the gradient of each parameter to norm 1. This has no effect after the trainer has clipped
    all gradients together to norm 1.

    Args:
        params: Parameters, or groups of parameters.
        lr (`float`): Learning rate.
        betas (`tuple[float, float]`, *optional*, defaults to `(0.9, 0.98)`): Decay rates of both moments.
        eps (`float`, *optional*, defaults to 1e-6): Added to the square root.
        weight_decay (`float`, *optional*, defaults to 0.2): Decoupled weight decay.
    """

    def __init__(self, params, lr: float, betas=(0.9, 0.98), eps: float = 1e-6, weight_decay: float = 0.2):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["m"], state["v"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["m"].lerp_(parameter.grad, 1 - beta1)
                state["v"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                update = state["m"] / (state["v"].sqrt() + group["eps"])
                parameter.sub_(update.add_(parameter, alpha=group["weight_decay"]), alpha=group["lr"])
        return loss


def official_schedule(
    optimizer: torch.optim.Optimizer, num_training_steps: int, warmup: float = 0.1
) -> torch.optim.lr_scheduler.LambdaLR:
    r"""Create the official schedule: at a share x of all steps, x / warmup at first and then (1 + cos(pi x)) / 2.

    The cosine spans the whole run, so it is below 1 after the warm-up; the cosine of transformers begins there.

    Args:
        optimizer (`torch.optim.Optimizer`): Optimiser whose learning rates are multiplied.
        num_training_steps (`int`): Number of all steps.
        warmup (`float`, *optional*, defaults to 0.1): Share of the steps in the warm-up.

    Returns:
        `torch.optim.lr_scheduler.LambdaLR`: The schedule.
    """

    def factor(step: int) -> float:
        progress = step / max(1, num_training_steps)
        return progress / warmup if progress < warmup else (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class LogitScaleClamp(TrainerCallback):
    """Keep `exp(logit_scale)` at 100 or below after every step, as CLIP and the official code do."""

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Clamp the parameter."""
        with torch.no_grad():
            find_drl_model(model).logit_scale.clamp_(max=MAX_LOGIT_SCALE)


def make_optimizer(trainer: Trainer, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Create AdamW, BertAdam or another optimiser on groups of the parameters.

    Args:
        trainer ([`DRLTrainer`]): Trainer whose arguments, or `optimizer_cls_and_kwargs`, say which one.
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.

    Returns:
        `torch.optim.Optimizer`: The optimiser.
    """
    args = trainer.args
    decayed = {name for name in trainer.get_decay_parameter_names(model) if plain_name(name) != "logit_scale"}
    if args.official_optimizer:
        decayed = {name for name, _ in model.named_parameters() if "bias" not in name}
        betas = (args.adam_beta1, args.adam_beta2)
        make, settings = BertAdam, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}
    elif trainer.optimizer_cls_and_kwargs is not None:
        make, settings = trainer.optimizer_cls_and_kwargs
    else:
        make, settings = trainer.get_optimizer_cls_and_kwargs(args, model)
    return make(parameter_groups(model, args, decayed), **settings)


def parts_of_model(model: torch.nn.Module) -> dict[str, str]:
    """Assign every parameter to the part of the model that has a learning rate of its own.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.

    Returns:
        `dict[str, str]`: Parts by name of the parameter, as `model` names it.
    """
    parts = {**dict.fromkeys(clip_parameter_names(model), CLIP), "logit_scale": LOGIT_SCALE}
    return {name: parts.get(plain_name(name), NEW) for name, _ in model.named_parameters()}


def describe_rates(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """Describe the peak learning rate of every part of the model, by the groups of an optimiser.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.
        optimizer (`torch.optim.Optimizer`): Its optimiser, also one that other code created.

    Returns:
        `str`: The rates, with `frozen` for a part that the optimiser does not train.
    """
    rate_of = {
        id(parameter): group.get("initial_lr", group["lr"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    rates: dict[str, set[float]] = {NEW: set(), CLIP: set(), LOGIT_SCALE: set()}
    for name, part in parts_of_model(model).items():
        rate = rate_of.get(id(model.get_parameter(name)))
        rates[part] |= set() if rate is None else {rate}
    return ", ".join(f"{' and '.join(map(str, sorted(found))) or 'frozen'} {part}" for part, found in rates.items())


def parameter_groups(model: torch.nn.Module, args: DRLTrainingArguments, decayed: set[str]) -> list[dict]:
    """Group parameters by learning rate and weight decay: CLIP, the logit scale, and all others.

    The others are the new modules, and what PEFT adds: adapters and `modules_to_save`.

    Args:
        model (`torch.nn.Module`): A [`DRLModel`], or a module that wraps one.
        args ([`DRLTrainingArguments`]): Learning rates and weight decay.
        decayed (`set[str]`): Names of the parameters with weight decay, as `model` names them.

    Returns:
        `list[dict]`: Groups for an optimiser.
    """
    rates = {
        NEW: args.learning_rate,
        CLIP: args.clip_learning_rate,
        LOGIT_SCALE: args.logit_scale_learning_rate,
    }
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, part in parts_of_model(model).items():
        parameter = model.get_parameter(name)
        if parameter.requires_grad:
            weight_decay = args.weight_decay if name in decayed else 0.0
            groups.setdefault((rates[part], weight_decay), []).append(parameter)
    return [
        {"params": parameters, "lr": learning_rate, "weight_decay": weight_decay}
        for (learning_rate, weight_decay), parameters in groups.items()
    ]


__all__ = ["BertAdam", "LogitScaleClamp", "describe_rates", "make_optimizer", "official_schedule", "parameter_groups"]
