"""What is refused before a run: other types, weights in half precision, batches that are too small."""

import copy

import pytest
import torch
from transformers import TrainingArguments


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_not_trained(dtype, make_trainer, make_tiny_model):
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"`model`: found \S+ in {kind}, expected float32, .*`model.float\(\)`"):
        make_trainer(make_tiny_model().to(dtype))
    model = make_tiny_model()
    model.vision_model.to(dtype).requires_grad_(False)
    with pytest.raises(ValueError, match=f"found vision_model.* in {kind} beside parts in float32, .*`bf16=True`"):
        make_trainer(model)
    if dtype == torch.bfloat16:
        make_trainer(model, bf16=True, max_steps=1).train()  # frozen ones may then have any type
    else:
        with pytest.raises(ValueError, match="on a CPU, with bfloat16 only"):
            make_trainer(model, bf16=True)
    model.temporal_encoder.to(dtype)
    with pytest.raises(ValueError, match=f"found temporal_encoder.* in {kind}"):
        make_trainer(model)


def test_every_type_is_checked_before_anything_is_read(make_trainer, splits, tiny_processor, tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    table = splits["train"].captions
    for options, said in (
        ({"train_dataset": table}, "`train_dataset`: found a Dataset, expected a RetrievalData or a PairDataset"),
        ({"eval_dataset": table}, "`eval_dataset`: found a Dataset, expected a RetrievalData or a PairDataset"),
        ({"train_dataset": Stream()}, "`train_dataset`: found a Stream"),
        ({"train_dataset": [1, 2]}, "`train_dataset`: found a list"),
        ({"eval_dataset": {"a": table}}, r"`eval_dataset\['a'\]`: found a Dataset"),
        ({"processing_class": tiny_processor.tokenizer}, "`processing_class`: found a .*, expected a DRLProcessor"),
        ({"args": TrainingArguments(str(tmp_path))}, "`args`: found a TrainingArguments, expected a DRLTraining"),
        ({"args": None}, "`args`: found a NoneType, expected a DRLTraining"),
    ):
        with pytest.raises(TypeError, match=said):
            make_trainer(options=options)
    with pytest.raises(ValueError, match="`eval_dataset`: found no splits"):
        make_trainer(options={"eval_dataset": {}})


def test_a_video_of_one_frame_cannot_be_a_batch(make_trainer, splits, tiny_processor):
    processor = copy.deepcopy(tiny_processor)
    processor.video_processor.max_frames = 1
    size = len(splits["train"].captions) - 1
    arguments = {"per_device_train_batch_size": size, "dataloader_drop_last": False, "processor": processor}
    with pytest.raises(ValueError, match="at least two for the decorrelation of videos of one frame, as "):
        make_trainer(**arguments)
    with pytest.raises(ValueError, match="`per_device_train_batch_size`: found 1, expected at least 2 pairs"):
        make_trainer(**{**arguments, "per_device_train_batch_size": 1})
