"""The official optimiser and schedule, each against its equations, and how far the library's own are from them."""

import math

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from drl_tvr.training.optimization import BertAdam, official_schedule


GRADIENTS = [0.3, -0.2, 0.5, 0.4, -0.1, 0.25]


def run(optimizer_class, schedule, gradients: list[float], lr: float = 0.1, **kwargs) -> list[float]:
    """The values that one parameter takes."""
    parameter = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    optimizer = optimizer_class([parameter], lr=lr, **kwargs)
    scheduler = schedule(optimizer)
    values = []
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        scheduler.step()
        values.append(parameter.item())
    return values


def constant(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def test_bert_adam_is_its_equations():
    """Written out on plain numbers: no bias correction, the decay added to the update."""
    found = run(BertAdam, lambda optimizer: official_schedule(optimizer, 6, 0.5), GRADIENTS)
    p, m, v = 1.0, 0.0, 0.0
    for step, g in enumerate(GRADIENTS):
        progress = step / 6
        lr = 0.1 * (progress / 0.5 if progress < 0.5 else 0.5 * (1 + math.cos(math.pi * progress)))
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
        p -= lr * (m / (math.sqrt(v) + 1e-6) + 0.2 * p)
        assert found[step] == pytest.approx(p, rel=1e-12)


def test_the_schedule_by_hand():
    """Ten steps, two of warm-up: 0, 1/2, then half a cosine of the whole run, which has no jump to 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = official_schedule(optimizer, num_training_steps=10, warmup=0.2)
    rates = []
    for _ in range(11):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:2] == [0.0, 0.5]
    assert rates[2] == pytest.approx((1 + math.cos(0.2 * math.pi)) / 2)
    assert rates[5] == pytest.approx(0.5)
    assert rates[10] == pytest.approx(0.0)


def test_each_group_keeps_its_own_rate():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1e-4, 1e-7)]
    optimizer = BertAdam(groups, lr=1.0)
    schedule = official_schedule(optimizer, 10, 0.2)
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.5e-4, 0.5e-7])


def test_parameters_without_a_gradient_stay():
    parameter = torch.nn.Parameter(torch.ones(2))
    BertAdam([parameter], lr=1.0).step()
    assert parameter.tolist() == [1.0, 1.0]


def test_adamw_differs_by_more_than_rounding():
    """Its first step is 1 / 0.707 as long, its tenth 0.66 as long; after some 200 they agree."""
    theirs = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.0}
    steady = [0.5] * 300
    with_bias = [1.0, *run(torch.optim.AdamW, constant, steady, **theirs)]
    without = [1.0, *run(BertAdam, constant, steady, **theirs)]
    ratios = [(without[i + 1] - without[i]) / (with_bias[i + 1] - with_bias[i]) for i in range(len(steady))]
    assert ratios[0] == pytest.approx((1 - 0.9) / math.sqrt(1 - 0.98), rel=1e-4)
    assert ratios[9] == pytest.approx((1 - 0.9**10) / math.sqrt(1 - 0.98**10), rel=1e-4)
    assert ratios[9] > 1.5 and ratios[-1] == pytest.approx(1.0, abs=2e-3)


def test_the_librarys_cosine_differs_by_more_than_rounding():
    def rates(make) -> list[float]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = make(optimizer)
        found = []
        for _ in range(1000):
            found.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        return found

    official = rates(lambda optimizer: official_schedule(optimizer, 1000, 0.1))
    theirs = rates(lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 100, 1000))
    assert official[:100] == pytest.approx(theirs[:100])
    gaps = [a - b for a, b in zip(theirs, official, strict=True)]
    assert max(gaps) == pytest.approx(0.0956, abs=1e-4) and min(gaps) > -1e-9
