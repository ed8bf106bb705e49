"""Train, evaluate and save a DRL model.

    accelerate launch examples/train_tvr.py                               # the bundled benchmark
    accelerate launch examples/train_tvr.py --config FILE.yaml            # a recipe; flags override its values
    accelerate launch examples/train_tvr.py --clip_name_or_path CHECKPOINT --output_dir DIR    # the paper's recipe
    accelerate launch --num_processes 4 examples/train_tvr.py             # several GPUs
    torchrun --standalone --nproc_per_node 2 examples/train_tvr.py --use_cpu    # several processes on the CPU

Without arguments this is the recipe `configs/moving_shapes.yaml`, which takes about six minutes on 2 CPU cores: it
trains a small CLIP and then the DRL model that starts from it, as the second line does from any other CLIP. A key of a
recipe is also a flag, and a field of the model is a dotted flag: `--model.interaction ti`. `--help` lists all.
"""

import logging
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import CLIPTokenizer, set_seed
from transformers.utils import logging as hf_logging

from drl_tvr import (
    DRLConfig,
    DRLModel,
    DRLProcessor,
    DRLTrainer,
    DRLTrainingArguments,
    DRLVideoProcessor,
    RetrievalData,
    load_benchmark,
)
from drl_tvr.data.frame_store import load_frames
from drl_tvr.data.loading import VideoDataset
from drl_tvr.data.moving_shapes.small_clip import train_small_clip
from drl_tvr.data.tokenizer import load_clip_tokenizer, train_clip_tokenizer
from drl_tvr.evaluation import format_result, score_texts
from drl_tvr.files import usable_cores
from drl_tvr.training.publishing import chosen_on, publish_folder, try_to_write_card
from drl_tvr.training.recipe import Recipe, RunOptions
from drl_tvr.training.run import Run
from drl_tvr.training.script import run_script


DEFAULT_RECIPE = Path(__file__).parent / "configs" / "moving_shapes.yaml"


def main(argv: list[str] | None = None) -> int:
    """Run a recipe by its command line, and return the exit code."""
    return run_script(run_recipe, argv, DEFAULT_RECIPE)


def run_recipe(recipe: Recipe, options: RunOptions, args: DRLTrainingArguments) -> None:
    """Run a recipe, or what is left of it when it ran before."""
    is_main = PartialState().is_main_process
    logging.basicConfig(level=logging.INFO if is_main else logging.ERROR, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    hf_logging.set_verbosity(logging.WARNING if is_main else logging.ERROR)
    # `accelerate launch` gives a process on the CPU a single thread.
    torch.set_num_threads(options.num_threads or max(1, usable_cores() // PartialState().num_processes))

    run = Run.begin(args, recipe.settings(), options.overwrite_output_dir)
    if not run.is_finished:
        train(run, recipe, args)
    if is_main:
        print(f"\n{format_result(run.result)}\n\nThe model, its processor and its result are in {run.folder}.")
    if options.search and is_main:
        search(recipe, run.folder, options.search)
    if args.push_to_hub and is_main:
        print(f"\nPublished: {publish_folder(args).commit_url}")


def train(run: Run, recipe: Recipe, args: DRLTrainingArguments) -> None:
    """Train, save and evaluate the model of a recipe."""
    # The first process renders the benchmark, trains the small CLIP or the tokenizer, and the others find them.
    with args.main_process_first(local=False, desc="preparing"):
        splits = {split: load_split(recipe, split) for split in ("train", "test", recipe.choose_on)}
        if recipe.train_clip:
            train_small_clip(recipe.clip_name_or_path, recipe.root)
        tokenizer = make_tokenizer(recipe, splits["train"], run.folder / "tokenizer")

    set_seed(args.seed)
    model = make_model(recipe, tokenizer)
    processor = make_processor(recipe, model.config, tokenizer)
    trainer = DRLTrainer(
        model=model,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits[recipe.choose_on],
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=run.checkpoint)
    trainer.save_model(_internal_call=True)  # any other call would push, before there is a result
    trainer.evaluate(splits["test"], metric_key_prefix="test")
    trainer.save_state()
    run.finish(trainer.last_result, chosen_on=chosen_on(trainer), train=splits["train"].provenance)
    try_to_write_card(trainer)


def load_split(recipe: Recipe, split: str) -> RetrievalData:
    """Load a split; without a validation split, all of the training split is trained on."""
    hold_out = recipe.choose_on == "validation"
    return load_benchmark(recipe.benchmark, recipe.root, split, hold_out=hold_out, allow_missing=recipe.allow_missing)


def make_tokenizer(recipe: Recipe, data: RetrievalData, folder: Path) -> CLIPTokenizer:
    """Load the tokenizer of the recipe or of the CLIP checkpoint, or train one on the captions."""
    source = recipe.tokenizer or recipe.clip_name_or_path
    if source is None and PartialState().is_main_process:
        return train_clip_tokenizer(data.captions["caption"][:], folder)
    return load_clip_tokenizer(source or folder)


def make_model(recipe: Recipe, tokenizer: CLIPTokenizer) -> DRLModel:
    """Build the model on the towers of a CLIP checkpoint, or from scratch."""
    if recipe.clip_name_or_path is not None:
        return DRLModel.from_clip_pretrained(recipe.clip_name_or_path, **recipe.model)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text_config = {**(recipe.model.get("text_config") or {}), "vocab_size": len(tokenizer), **ids}
    return DRLModel(DRLConfig(**{**recipe.model, "text_config": text_config}))


def make_processor(recipe: Recipe, config: DRLConfig, tokenizer: CLIPTokenizer) -> DRLProcessor:
    """Make the processor that prepares videos and captions for the model."""
    size, pads = config.vision_config.image_size, config.padding_takes_part
    video_processor = DRLVideoProcessor(
        fps=recipe.fps,
        max_frames=recipe.max_frames,
        allow_truncated=recipe.allow_truncated,
        pad_to_max_frames=pads,
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
    )
    return DRLProcessor(video_processor, tokenizer, max_length=recipe.max_words, pad_to_max_length=pads)


def search(recipe: Recipe, folder: Path, sentences: list[str]) -> None:
    """Print the three most similar test videos for each sentence."""
    model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    test = load_split(recipe, "test")
    frames = VideoDataset(load_frames(test.videos, processor.video_processor))
    for sentence, scores in zip(sentences, score_texts(model, processor, frames, sentences), strict=True):
        print(f'\n"{sentence}"')
        for index in scores.topk(min(3, len(scores))).indices.tolist():
            caption = test.captions["caption"][test.caption_to_video.index(index)]
            print(f"  {scores[index]:.3f}  {test.videos[index]['path']}\n         its caption: {caption}")


if __name__ == "__main__":
    raise SystemExit(main())
