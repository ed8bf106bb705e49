"""A processor whose captions, videos or frames are larger than the model is refused before anything is decoded."""

import copy

import pytest

from drl_tvr import DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.data.loading import decode_split
from drl_tvr.data.stored_frames import FrameStoreError
from drl_tvr.evaluation import check_processor, evaluate_model
from drl_tvr.evaluation.evaluator import score_texts


BLOCKS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
EIGHT = {"temporal_config": {**BLOCKS, "max_position_embeddings": 8}}
SQUARE = "{'height': 32, 'width': 32}"
TOO_LARGE = [
    ({"max_length": 33}, {}, "`max_length`: found 33, expected at most 32 by `text_config.max_position_embeddings`"),
    ({}, {"max_frames": 9}, "`max_frames`: found 9, expected at most 8 by `temporal_config.max_position_embeddings`"),
    ({}, {"crop_size": {"height": 48, "width": 48}}, f"`crop_size`: found .*48.*, expected {SQUARE}, by the model's"),
    ({}, {"crop_size": {"height": 32, "width": 16}}, f"`crop_size`: found .*16.*, expected {SQUARE}, by the model's"),
    ({}, {"crop_size": {"shortest_edge": 32}}, f"`crop_size`: found {{'shortest_edge': 32}}, expected {SQUARE}"),
    *(
        ({}, {"size": size}, f"`size`: found {size}, expected a `shortest_edge`, .* of at least 32, by the model's")
        for size in (
            {"shortest_edge": 31},
            {"longest_edge": 32},
            {"shortest_edge": 32, "longest_edge": 64},
            {"max_height": 64, "max_width": 64},
            {"height": 64, "width": 31},
        )
    ),
    *(
        (
            {},
            {"do_center_crop": False, "size": size},
            f"`size`: found {size} and `do_center_crop=False`, expected {SQUARE}",
        )
        for size in (
            {"shortest_edge": 32},
            {"shortest_edge": 32, "longest_edge": 32},
            {"max_height": 32, "max_width": 32},
            {"height": 32, "width": 40},
        )
    ),
    ({}, {"do_center_crop": False, "do_resize": False}, "`do_resize` and `do_center_crop`: found False for both"),
]


@pytest.fixture
def make_processor(tiny_processor):
    """Makes the tiny processor with other settings of its own and of its video processor."""

    def make(own: dict, of_video: dict):
        processor = copy.deepcopy(tiny_processor)
        for part, settings in ((processor, own), (processor.video_processor, of_video)):
            for name, value in settings.items():
                setattr(part, name, value)
        return processor

    return make


class NotRead:
    """Stands for a split of which nothing may be read."""

    captions = range(100)


@pytest.mark.parametrize(("own", "of_video", "said"), TOO_LARGE)
def test_what_the_model_has_no_room_for_is_refused(own, of_video, said, make_processor, make_tiny_model):
    model, processor = (
        make_tiny_model(**EIGHT),
        make_processor(own, of_video),
    )
    with pytest.raises(ValueError, match=said):
        check_processor(model, processor)
    with pytest.raises(ValueError, match=said):
        evaluate_model(model, processor, NotRead())


def test_frames_of_the_cross_transformer_and_entries_of_the_tokenizer_are_counted(make_processor, make_tiny_model):
    model = make_tiny_model(interaction="xti", cdcr="none", cross_config={**BLOCKS, "max_position_embeddings": 6})
    with pytest.raises(ValueError, match="`max_frames`: found 6, expected at most 5 by `cross_config.max_position"):
        check_processor(model, make_processor({}, {}))
    check_processor(model, make_processor({}, {"max_frames": 5}))
    model = make_tiny_model()
    model.config.text_config.vocab_size -= 1
    with pytest.raises(ValueError, match=r"`len\(tokenizer\)`: found 521, expected at most 520 by `text_config.vocab"):
        check_processor(model, make_processor({}, {}))


@pytest.mark.parametrize(
    "of_video",
    [
        {},
        {"max_frames": 8},
        {"max_frames": None},
        {"do_center_crop": False, "size": {"height": 32, "width": 32}},
        {"size": {"shortest_edge": 40}},
        {"size": {"height": 32, "width": 48}},
        {"do_resize": False},
    ],
)
def test_what_fits_is_taken(of_video, make_processor, make_tiny_model):
    check_processor(make_tiny_model(**EIGHT), make_processor({}, of_video))


def test_the_trainer_refuses_it_before_the_split_is_decoded(make_processor, make_tiny_model, small_root, tmp_path):
    args = DRLTrainingArguments(
        str(tmp_path / "run"),
        report_to="none",
        use_cpu=True,
        eval_strategy="no",
        save_strategy="no",
        per_device_train_batch_size=8,
        frame_cache_dir=str(tmp_path / "frames"),
    )
    train = load_benchmark("moving-shapes", small_root, "train")
    with pytest.raises(ValueError, match="`max_length`: found 100, expected at most 32"):
        DRLTrainer(make_tiny_model(), args, train, processing_class=make_processor({"max_length": 100}, {}))
    assert not (tmp_path / "frames").exists()


def test_a_video_of_too_many_frames_is_named_before_any_is_encoded(
    make_processor, make_tiny_model, make_video, tmp_path, monkeypatch
):
    for name, num_frames in (("short", 4), ("long", 18)):
        make_video(f"{name}.mp4", num_frames, fps=2)
    (tmp_path / "data.csv").write_text("path,caption\nshort.mp4,a dog\nlong.mp4,a cat\n")
    data = load_benchmark(tmp_path / "data.csv")
    model, processor = make_tiny_model(**EIGHT), make_processor({}, {"max_frames": None})
    monkeypatch.setattr(model, "get_text_features", None)
    monkeypatch.setattr(model, "get_video_features", None)
    frames = str(tmp_path / "frames")
    args = {"report_to": "none", "use_cpu": True, "per_device_train_batch_size": 2, "frame_cache_dir": frames}
    args |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    said = (
        "Video long.mp4: found 18 frames, expected at most 8 by `temporal_config.max_position_embeddings`: set `max_fr"
    )
    with pytest.raises(ValueError, match=said):
        DRLTrainer(model, DRLTrainingArguments(str(tmp_path / "run"), **args), data, processing_class=processor)
    with pytest.raises(ValueError, match=said):
        evaluate_model(model, processor, data, frame_cache_dir=frames)
    videos = decode_split(data, processor.video_processor, frames).videos
    assert sorted(map(videos.num_frames, range(2))) == [4, 18] and not videos.frames.verified
    with pytest.raises(ValueError, match=said.replace("long.mp4", "[01]")):
        score_texts(model, processor, videos, ["a dog"])
    videos.frames.files[0].unlink()
    with pytest.raises(FrameStoreError, match="found no whole file"):
        videos.num_frames(0)
