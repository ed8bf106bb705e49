import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoVideoProcessor,
    CLIPTokenizer,
    LlavaOnevisionVideoProcessor,
)
from video_files import grey_frames

from drl_tvr.model.configuration_drl import DRLConfig
from drl_tvr.model.processing_drl import DRLProcessor
from drl_tvr.model.video_decoding import VideoNotFoundError
from drl_tvr.model.video_processing_drl import DRLVideoProcessor


@pytest.fixture(scope="module")
def processor(clip_tokenizer_dir) -> DRLProcessor:
    video_processor = DRLVideoProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return DRLProcessor(video_processor=video_processor, tokenizer=CLIPTokenizer.from_pretrained(clip_tokenizer_dir))


@pytest.fixture
def registered() -> None:
    """What `import drl_tvr` does, so that the test holds by itself."""
    AutoConfig.register("drl", DRLConfig, exist_ok=True)
    AutoVideoProcessor.register(DRLConfig, DRLVideoProcessor, exist_ok=True)
    AutoProcessor.register(DRLConfig, DRLProcessor, exist_ok=True)


def test_captions_and_videos_become_the_four_inputs(processor, make_video):
    path = make_video(num_frames=30, fps=10)
    inputs = processor(text=["a dog runs", "cat"], videos=[path, grey_frames(1)], return_tensors="pt")
    assert list(inputs) == ["input_ids", "attention_mask", "pixel_values_videos", "video_mask"]
    assert set(inputs) == set(processor.model_input_names)
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert inputs["pixel_values_videos"].shape == (2, 3, 3, 32, 32)
    assert inputs["video_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_tokens_are_bos_words_and_eos(processor):
    tokenizer = processor.tokenizer
    ids = processor(text="A dog  RUNS", return_tensors="pt")["input_ids"]
    tokens = ["<|startoftext|>", "a</w>", "dog</w>", "runs</w>", "<|endoftext|>"]
    assert tokenizer.convert_ids_to_tokens(ids[0].tolist()) == tokens


def test_either_side_alone_gives_its_own_inputs(processor):
    assert list(processor(text=["a dog"], return_tensors="pt")) == ["input_ids", "attention_mask"]
    assert list(processor(videos=[grey_frames(2)], return_tensors="pt")) == ["pixel_values_videos", "video_mask"]


def test_their_numbers_may_differ(processor):
    inputs = processor(text=["a dog", "a cat", "runs"], videos=grey_frames(2), return_tensors="pt")
    assert (len(inputs["input_ids"]), len(inputs["video_mask"])) == (3, 1)


def test_a_long_caption_keeps_its_eos(processor):
    bos, eos = processor.tokenizer.bos_token_id, processor.tokenizer.eos_token_id
    text = "dog " * 100
    for given, length in (({}, 32), ({"max_length": 64}, 64)):
        ids = processor(text=[text], return_tensors="pt", **given)["input_ids"]
        assert ids.shape == (1, length)
        assert (ids[0, 0], ids[0, -1]) == (bos, eos)
        assert (ids[0, 1:-1] != eos).all()


def test_arguments_reach_their_side(processor, make_video):
    path = make_video(num_frames=40, fps=10)
    inputs = processor(
        text=["a dog"], videos=[path], start=1.0, end=[2.9], fps=5, max_frames=3, max_length=3, return_tensors="pt",
        do_rescale=False, do_normalize=False, return_metadata=True,
    )  # fmt: skip
    assert inputs["video_metadata"][0].frames_indices == [10, 18, 28]
    assert inputs["pixel_values_videos"].dtype == torch.uint8
    assert inputs["input_ids"].shape == (1, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "`text`: found an empty list"),
        (["a dog", 3], r"text\[1\]: found <class 'int'> 3, expected a string"),
        (["a dog", None], r"text\[1\]: found <class 'NoneType'> None, expected a string"),
        (["a dog", " \n"], r"text\[1\]: found the blank text"),
        ("", r"text\[0\]: found the blank text"),
        ([["a", "dog"]], r"text\[0\]: found <class 'list'> .*, expected a string"),
        (3, "`text`: found <class 'int'>, expected a string or a list of strings"),
    ],
)
def test_what_is_no_caption_is_an_error_before_any_video_is_read(processor, text, message):
    with pytest.raises(ValueError, match=message):
        processor(text=text, videos=["none.mp4"], return_tensors="pt")


def test_nothing_at_all_is_an_error(processor):
    with pytest.raises(ValueError, match="`text`, `videos`: found neither"):
        processor(return_tensors="pt")


def test_errors_of_videos_come_through(processor):
    with pytest.raises(VideoNotFoundError, match="none.mp4"):
        processor(text=["a dog"], videos=["none.mp4"], return_tensors="pt")
    with pytest.raises(ValueError, match="`videos`: found an empty list"):
        processor(text=["a dog"], videos=[], return_tensors="pt")


def test_saving_and_loading_give_the_same_inputs(processor, registered, tmp_path):
    processor(text=["a dog runs"], max_length=3)  # which the tokenizer remembers, and saves
    processor.save_pretrained(tmp_path)
    expected = processor(text=["a dog runs"], videos=[grey_frames(3)], return_tensors="pt")
    for loaded in (DRLProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is DRLProcessor
        assert type(loaded.video_processor) is DRLVideoProcessor
        inputs = loaded(text=["a dog runs"], videos=[grey_frames(3)], return_tensors="pt")
        assert inputs.keys() == expected.keys()
        for name, values in inputs.items():
            assert torch.equal(values, expected[name]), name


def test_arguments_for_the_text_may_come_in_a_dictionary(processor):
    ids = processor(text=["a dog runs"], text_kwargs={"max_length": 4}, return_tensors="pt")["input_ids"]
    assert ids.shape == (1, 4)


@pytest.mark.shared
def test_the_ids_are_those_of_the_official_tokenizer(shared_dir):
    tokenizer = CLIPTokenizer.from_pretrained(shared_dir / "clip_tokenizer")
    processor = DRLProcessor(video_processor=DRLVideoProcessor(), tokenizer=tokenizer)
    reference = json.loads((shared_dir / "parity" / "tokens.json").read_text())
    reference = [row for row in reference if row["caption"].strip()]  # a blank caption is an error here
    assert len(reference) > 20
    inputs = processor(text=[row["caption"] for row in reference], return_tensors="pt")
    for row, ids, mask in zip(reference, inputs["input_ids"], inputs["attention_mask"], strict=True):
        assert ids[mask.bool()].tolist() == row["ids"], row["caption"]


def test_the_length_is_saved_and_must_hold_a_word(clip_tokenizer_dir: Path, tmp_path: Path):
    tokenizer = CLIPTokenizer.from_pretrained(clip_tokenizer_dir)
    DRLProcessor(DRLVideoProcessor(), tokenizer, max_length=10).save_pretrained(tmp_path)
    loaded = DRLProcessor.from_pretrained(tmp_path)
    assert len(loaded(text=["a dog runs " * 20]).input_ids[0]) == 10
    with pytest.raises(ValueError, match="`max_length`: found 2, expected at least 3"):
        DRLProcessor(DRLVideoProcessor(), tokenizer, max_length=2)


@pytest.mark.parametrize("max_length", ["32", None, 4.5, True, 2, -1])
def test_a_length_that_is_not_one_is_a_value_error(processor, clip_tokenizer_dir: Path, tmp_path: Path, max_length):
    tokenizer = CLIPTokenizer.from_pretrained(clip_tokenizer_dir)
    message = f"`max_length`: found {max_length!r}, expected at least 3"
    with pytest.raises(ValueError, match=message):
        DRLProcessor(DRLVideoProcessor(), tokenizer, max_length=max_length)
    for given in ({"max_length": max_length}, {"text_kwargs": {"max_length": max_length}}):
        with pytest.raises(ValueError, match=message):
            processor(text=["a dog runs"], **given)
    processor.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "processor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps({**content, "max_length": max_length}))
    with pytest.raises(ValueError, match=message):
        DRLProcessor.from_pretrained(tmp_path)


def test_padding_to_the_length_is_true_or_false(clip_tokenizer_dir: Path):
    tokenizer = CLIPTokenizer.from_pretrained(clip_tokenizer_dir)
    with pytest.raises(ValueError, match="`pad_to_max_length`: found 'no', expected True or False"):
        DRLProcessor(DRLVideoProcessor(), tokenizer, pad_to_max_length="no")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("video_processor_type", "LlavaOnevisionVideoProcessor"),  # one of transformers
        ("video_processor_type", "NoVideoProcessor"),
        ("video_processor_type", [1]),
        ("auto_map", 3),
        ("crop_size", None),
        ("crop_size", "x"),
        ("crop_size", {"shortest_edge": 224}),
        ("crop_size", {"height": 22.5, "width": 22.5}),
        ("size", None),
        ("size", 1.5),
        ("size", {"longest_edge": 224}),
        ("size", {"shortest_edge": "224"}),
        ("rescale_factor", None),
        ("rescale_factor", 0),
        ("image_mean", None),
        ("image_std", None),
        ("resample", 99),
        ("resample", 5),  # which PIL knows and tensors do not
        ("resample", True),
        ("resample", [3]),
        ("resample", None),
        ("num_frames", 8),
        ("device", "gpu"),
        ("backend", "x"),
        ("preprocess", 3),
        ("__class__", "x"),
    ],
)
def test_a_wrong_setting_of_videos_names_file_and_field(processor, tmp_path: Path, field, value):
    processor.save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    content = json.loads(file.read_text())
    content["video_processor"][field] = value
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^{file}: `video_processor`, `{field}`: found .*, expected .*") as caught:
        DRLProcessor.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [[1], "x", None, 3])
def test_settings_of_videos_are_a_mapping(processor, tmp_path: Path, value):
    processor.save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "video_processor": value}))
    with pytest.raises(ValueError, match=f"^{file}: `video_processor`: found .*, expected a mapping"):
        DRLProcessor.from_pretrained(tmp_path)


def test_a_foreign_video_processor_is_refused(clip_tokenizer_dir: Path):
    tokenizer = CLIPTokenizer.from_pretrained(clip_tokenizer_dir)
    with pytest.raises(ValueError, match="`video_processor`: found a LlavaOnevisionVideoProcessor, expected a DRLV"):
        DRLProcessor(LlavaOnevisionVideoProcessor(), tokenizer)


@pytest.mark.parametrize("settings", [{"resample": 0}, {"resample": "bicubic"}, {"size": 32, "crop_size": [16, 16]}])
def test_settings_in_their_other_forms_are_taken(settings):
    frames = np.zeros((1, 40, 50, 3), dtype=np.uint8)
    assert DRLVideoProcessor(**settings)(frames, return_tensors="pt").pixel_values_videos.shape[-1] in (16, 224)


def test_a_setting_that_is_not_used_may_be_none():
    off = {"do_resize": False, "size": None, "resample": None, "do_rescale": False, "rescale_factor": None}
    assert DRLVideoProcessor(**off)(np.zeros((1, 40, 50, 3), dtype=np.uint8))["pixel_values_videos"][0].shape[0] == 1
