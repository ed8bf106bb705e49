"""A processor whose captions, videos or frames are larger than the model is refused before anything is decoded."""

import copy

import pytest

from drl_tvr import DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.evaluation import check_processor, evaluate_model


BLOCKS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
EIGHT = {"temporal_config": {**BLOCKS, "max_position_embeddings": 8}}
TOO_LARGE = [
    ({"max_length": 33}, {}, "`max_length`: found 33, expected at most 32 by `text_config.max_position_embeddings`"),
    ({}, {"max_frames": 9}, "`max_frames`: found 9, expected at most 8 by `temporal_config.max_position_embeddings`"),
    ({}, {"crop_size": {"height": 48, "width": 48}}, "`crop_size`: found the height 48, expected 32, the model's"),
    ({}, {"crop_size": {"height": 32, "width": 16}}, "`crop_size`: found the width 16, expected 32, the model's"),
    ({}, {"do_center_crop": False, "size": {"shortest_edge": 40}}, "`size`: found the shortest_edge 40, expected 32"),
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


@pytest.mark.parametrize("of_video", [{}, {"max_frames": 8}, {"max_frames": None}, {"do_center_crop": False}])
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
