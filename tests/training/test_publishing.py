"""The card of a run: what it says, and that it cannot fail a run."""

import re
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from drl_tvr import DRLConfig, DRLModel


def test_a_failing_card_or_cost_does_not_touch_a_finished_run(make_trainer, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")

    monkeypatch.setattr("drl_tvr.training.publishing.measure_cost", fail)
    trainer = make_trainer(max_steps=1)
    assert trainer.train().global_step == 1
    card = Path(trainer.args.output_dir) / "README.md"
    assert "Not measured." in card.read_text()
    assert "not measured (RuntimeError: CUDA out of memory.)" in caplog.text

    monkeypatch.setattr("drl_tvr.training.publishing.write_model_card", fail)
    trainer = make_trainer(max_steps=1, output_dir="second")
    assert trainer.train().global_step == 1
    assert "the model card was not written (RuntimeError: CUDA out of memory.)" in caplog.text
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.create_model_card()
    trainer.save_model()
    assert DRLModel.from_pretrained(trainer.args.output_dir).num_parameters() == trainer.model.num_parameters()


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        ({}, {}, "| optimizer | AdamW, betas (0.9, 0.98), weight decay 0.2, cosine schedule, warm-up 0.1 |"),
        ({"optim": "adafactor"}, {}, "| optimizer | Adafactor, weight decay 0.2, cosine"),
        ({"official_optimizer": True}, {}, "| optimizer | BertAdam, betas (0.9, 0.98), weight decay 0.2, official"),
        ({}, {"optimizer_cls_and_kwargs": (torch.optim.SGD, {"momentum": 0.5})}, "| optimizer | SGD, momentum 0.5"),
        ({"bf16": True}, {}, "| precision | bfloat16 by autocast, weights in float32 |"),
        ({}, {}, "| precision | float32 |"),
        ({"logit_scale_learning_rate": 0.01}, {}, "| 0.001 new modules, 0.0005 CLIP towers, 0.01 logit scale |"),
        ({"gradient_accumulation_steps": 2}, {}, "| batch | 8 pairs over all processes, accumulated 2 times |"),
    ],
)
def test_the_card_says_what_the_run_used(args, options, said, make_trainer):
    trainer = make_trainer(options=options, max_steps=1, **args)
    trainer.train()
    assert said in (Path(trainer.args.output_dir) / "README.md").read_text()


def test_the_card_says_what_an_optimizer_and_frozen_parameters_really_were(make_trainer, make_tiny_model):
    model = make_tiny_model()
    model.vision_model.requires_grad_(False)
    optimizer = torch.optim.RMSprop(model.temporal_encoder.parameters(), lr=0.25)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    trainer = make_trainer(model, options={"optimizers": (optimizer, schedule)}, max_steps=1)
    trainer.train()
    card = (Path(trainer.args.output_dir) / "README.md").read_text()
    assert "| optimizer | RMSprop, weight decay 0, ConstantLR |" in card
    assert "| learning rates | 0.25 new modules, frozen CLIP towers, frozen logit scale |" in card
    assert f" of {model.num_parameters():,} parameters |" in card


def test_the_card_says_where_the_weights_came_from(make_trainer, make_tiny_model, tmp_path):
    make_tiny_model().save_pretrained(tmp_path / "earlier")
    towers = make_tiny_model().config
    clip = CLIPConfig(text_config=towers.text_config, vision_config=towers.vision_config, projection_dim=32)
    CLIPModel(clip).to(torch.float16).save_pretrained(tmp_path / "clip")
    for model, title, origin in (
        (make_tiny_model(), "towers", "from scratch"),
        (DRLModel(DRLConfig.from_pretrained(tmp_path / "earlier")), "towers", "from scratch"),
        (DRLModel.from_pretrained(tmp_path / "earlier"), "weights", "from `earlier`"),
        (DRLModel.from_clip_pretrained(tmp_path / "clip"), "towers", "from `clip`"),
    ):
        trainer = make_trainer(model)
        trainer.create_model_card()
        card = (Path(trainer.args.output_dir) / "README.md").read_text()
        assert f"| {title} | {origin} |" in card
        assert ("trained further" in card) == (title == "weights")
        assert str(tmp_path) not in card.replace(trainer.args.output_dir, "")


@pytest.mark.parametrize(
    ("settings", "adapter"),
    [
        ({"modules_to_save": ["temporal_encoder", "text_token_weights", "frame_token_weights"]}, "default"),
        ({"bias": "all"}, "mine"),
    ],
)
def test_the_code_of_an_adapters_card_runs(settings, adapter, make_trainer, make_tiny_model, make_video, monkeypatch):
    peft = pytest.importorskip("peft")
    video = make_video("clip.mp4")
    monkeypatch.chdir(video.parent)
    make_tiny_model().save_pretrained("base")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], **settings)
    model = peft.get_peft_model(DRLModel.from_pretrained("base"), config, adapter_name=adapter)
    trainer = make_trainer(model, max_steps=2)
    trainer.train()
    trainer.save_model()
    card = (Path(trainer.args.output_dir) / "README.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(f"{code}\nlogits = model(**inputs).logits_per_text", names)
    with torch.no_grad():
        assert torch.allclose(names["logits"], model.eval()(**names["inputs"]).logits_per_text)
    assert names["logits"].shape == (1, 1) and "trust_remote_code" not in card
    # The card counts what the model computes with, and not the frozen copies of `modules_to_save`.
    in_adapters = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" in name)
    everything = f"{make_tiny_model().num_parameters() + in_adapters:,}"
    assert f" and {everything} parameters." in card and f" of {everything} parameters |" in card


def test_the_card_of_an_adapter_says_when_no_checkpoint_holds_its_base(make_trainer, make_tiny_model, caplog):
    peft = pytest.importorskip("peft")
    trainer = make_trainer(peft.get_peft_model(make_tiny_model(), peft.LoraConfig(r=2, target_modules=["q_proj"])))
    assert "found a PEFT adapter of a model that was not loaded from a checkpoint" in caplog.text
    trainer.create_model_card()
    card = (Path(trainer.args.output_dir) / "README.md").read_text()
    assert "```python" not in card and "was not\nloaded from a checkpoint of DRL" in card
