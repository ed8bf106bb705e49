"""Seeds of the processes that load batches."""

import torch

from drl_tvr.data.loading import RetrievalCollator


class WithRandomNumbers:
    """A collator that draws a number and stores it in the first pixel, for tests of the seeds of workers."""

    def __init__(self, collate):
        self.collate = collate

    def __call__(self, items):
        inputs = self.collate(items)
        inputs["pixel_values_videos"][0, 0, 0, 0, :8] = torch.randint(256, (8,), dtype=torch.uint8)
        return inputs


def test_random_numbers_of_workers_depend_on_the_seed_and_do_not_repeat(make_trainer, tiny_processor):
    def run(output_dir: str, resume: str | None = None, seed: int = 0) -> list[tuple]:
        drawn = []
        trainer = make_trainer(
            output_dir=output_dir,
            options={"data_collator": WithRandomNumbers(RetrievalCollator(tiny_processor))},
            **{"max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 32, "seed": seed},
            **{"save_strategy": "steps", "save_steps": 1, "save_total_limit": None, "dataloader_num_workers": 1},
        )
        trainer.model.register_forward_pre_hook(
            lambda module, inputs, kwargs: drawn.append(tuple(kwargs["pixel_values_videos"][0, 0, 0, 0, :8].tolist())),
            with_kwargs=True,
        )
        trainer.train(resume_from_checkpoint=resume and f"{trainer.args.output_dir}/{resume}")
        return drawn

    whole = run("whole")
    assert len(set(whole)) == len(whole) == 6
    assert not set(run("other", seed=1)) & set(whole)
    assert run("whole", "checkpoint-3") == whole[3:]  # from the second epoch on
    middle = run("whole", "checkpoint-1")
    assert middle[2:] == whole[3:] and not set(middle[:2]) & set(whole)
