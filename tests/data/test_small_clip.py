"""The small CLIP of the bundled benchmark: an ordinary checkpoint, whole or absent, from which a DRL model starts."""

import pytest
import torch
from transformers import CLIPModel, CLIPProcessor

from drl_tvr import BenchmarkError, DRLModel
from drl_tvr.data.moving_shapes import build_moving_shapes, small_clip
from drl_tvr.data.moving_shapes.scenes import make_scenes
from drl_tvr.data.moving_shapes.stills import draw_stills


@pytest.fixture(scope="module", autouse=True)
def few_stills():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_clip, "NUM_STILLS", 3)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_clip.train_small_clip(tmp_path_factory.mktemp("clips") / "deep" / "clip", num_steps=2)


def test_it_is_an_ordinary_clip_checkpoint(folder):
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    image = torch.zeros(3, 100, 80, dtype=torch.uint8)
    inputs = processor(text=["a red star", "a blue star"], images=image, return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)
    assert model(**inputs).logits_per_text.shape == (2, 1)
    drl = DRLModel.from_clip_pretrained(folder)
    assert torch.equal(drl.text_projection.weight, model.text_projection.weight)


def test_one_that_is_there_is_left_as_it_is(folder, monkeypatch):
    monkeypatch.setattr(small_clip, "train", None)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert small_clip.train_small_clip(folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_one_that_has_seen_what_is_held_out_is_refused(folder, tmp_path):
    root = build_moving_shapes(tmp_path / "world", splits=(), seed=1, num_train=2, num_validation=1, num_test=1)
    with pytest.raises(BenchmarkError, match="trained with {'benchmark_seed': 0}, expected {'benchmark_seed': 1}"):
        small_clip.train_small_clip(folder, root)
    shown = {}
    for seed in (0, 1):
        scenes = make_scenes(seed)
        shown[seed] = {still.event.triple for stills in draw_stills(scenes, 3).values() for still in stills}
        held_out = {event.triple for scene in scenes if scene.split == "test" for event in scene.events}
        assert not shown[seed] & held_out


def test_an_interrupted_training_leaves_no_folder(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(small_clip, "get_scheduler", interrupt)
    with pytest.raises(KeyboardInterrupt):
        small_clip.train_small_clip(tmp_path / "clip")
    assert [path.name for path in tmp_path.iterdir()] in ([], [".clip.lock"])


def test_the_same_seed_gives_the_same_weights(folder, tmp_path):
    again = small_clip.train_small_clip(tmp_path / "clip", num_steps=2)
    weights = [CLIPModel.from_pretrained(path).text_projection.weight for path in (folder, again)]
    assert torch.equal(*weights)


def test_training_lowers_the_loss(tmp_path):
    trained = small_clip.train_small_clip(tmp_path / "clip", seed=1, num_steps=30)
    model, processor = CLIPModel.from_pretrained(trained), CLIPProcessor.from_pretrained(trained)
    unseen = [stills[0] for stills in draw_stills(make_scenes(), num_stills=1, seed=9).values()]
    with torch.no_grad():
        loss = model(**small_clip.processor_inputs(processor, unseen), return_loss=True).loss
    assert loss < 0.95 * torch.tensor(len(unseen)).log()
