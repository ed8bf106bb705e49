"""Trains, evaluates and saves a DRL model.

    accelerate launch examples/train_tvr.py                               # the bundled benchmark, from scratch
    accelerate launch examples/train_tvr.py --config FILE.yaml            # a recipe; flags override its values
    accelerate launch --cpu --num_processes 2 examples/train_tvr.py       # several processes

Without arguments this is the recipe of `configs/moving_shapes.yaml`: on 2 CPU cores it renders 3,900 clips, trains for
about five minutes and prints retrieval metrics of the test split and the best clips for two sentences. Every field of
the three groups of arguments below, `DRLTrainingArguments` included, is a flag and a key of the YAML file.
"""

import json
import logging
import os
import re
import shutil
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
import yaml
from accelerate import PartialState
from transformers import AutoTokenizer, HfArgumentParser, set_seed
from transformers.utils import logging as hf_logging

from drl_tvr import (
    DRLConfig,
    DRLModel,
    DRLProcessor,
    DRLTrainer,
    DRLTrainingArguments,
    DRLVideoProcessor,
    load_benchmark,
)
from drl_tvr.data.tokenizer import train_clip_tokenizer
from drl_tvr.hub import write_model_card


DEFAULT_CONFIG = Path(__file__).parent / "configs" / "moving_shapes.yaml"
METRICS_FILE = "test_results.json"


@dataclass
class DataArguments:
    """What to train on, and how videos and captions are cut."""

    benchmark: str = field(default="moving-shapes", metadata={"help": "Name of the benchmark."})
    root: str | None = field(default=None, metadata={"help": "Folder of its annotations and videos."})
    fps: float = field(default=1.0, metadata={"help": "Frames to take per second."})
    max_frames: int = field(default=12, metadata={"help": "Most frames of a video."})
    max_words: int = field(default=32, metadata={"help": "Most tokens of a caption, with its start and end."})
    num_threads: int | None = field(default=None, metadata={"help": "CPU threads; by default all cores, shared."})
    search: list[str] = field(default_factory=list, metadata={"help": "Sentences to search the test clips for."})


@dataclass
class ModelArguments:
    """Where the model starts, and the fields of DRLConfig; JSON where a field is a mapping."""

    clip: str | None = field(default=None, metadata={"help": "A CLIPModel checkpoint to start from."})
    tokenizer: str | None = field(default=None, metadata={"help": "A CLIP tokenizer; by default that of `clip`."})
    text_config: str | None = field(default=None, metadata={"help": "Text tower from scratch, as JSON."})
    vision_config: str | None = field(default=None, metadata={"help": "Vision tower from scratch, as JSON."})
    temporal_config: str | None = field(default=None, metadata={"help": "Temporal transformer, as JSON."})
    projection_dim: int | None = field(default=None, metadata={"help": "Width of the tokens, from scratch."})
    logit_scale_init_value: float | None = field(default=None, metadata={"help": "Log of the logit scale at first."})
    interaction: str = field(default="wti", metadata={"help": "wti, ti or dp."})
    token_weight_depth: int = field(default=2, metadata={"help": "Layers of the token weights: 1, 2 or 3."})
    temporal_encoder: str = field(default="transformer", metadata={"help": "transformer or none."})
    cdcr: str = field(default="weighted", metadata={"help": "weighted or none."})
    cdcr_lambda: float = field(default=0.001, metadata={"help": "Weight of the decorrelation."})
    cdcr_alpha_diagonal: float = field(default=0.11, metadata={"help": "Weight of its diagonal."})
    cdcr_alpha_off_diagonal: float = field(default=0.0, metadata={"help": "Weight of the rest."})


class StrictParser(HfArgumentParser):
    """Raises where argparse exits."""

    def error(self, message):
        raise ValueError(message)


def read_arguments(argv: list[str]) -> tuple[DataArguments, ModelArguments, DRLTrainingArguments]:
    """Merge the YAML file of `--config` with the flags after it; without arguments, the bundled recipe.

    Raises:
        `ValueError`: For an unknown key or flag, or a value of the wrong type; names the file and the key.
    """
    groups = (DataArguments, ModelArguments, DRLTrainingArguments)
    parser = StrictParser(groups, allow_abbrev=False)
    if "-h" in argv or "--help" in argv:
        parser.print_help()
        sys.exit(0)
    argv = list(argv)
    config = DEFAULT_CONFIG
    for index, argument in enumerate(argv):
        if argument == "--config" or argument.startswith("--config="):
            value = argument.partition("=")[2] or (argv[index + 1] if index + 1 < len(argv) else "")
            if not Path(value).is_file():
                raise FileNotFoundError(f"--config {value!r}: there is no such file.")
            config = Path(value)
            del argv[index : index + (1 if "=" in argument else 2)]
            break
    try:
        recipe = yaml.safe_load(config.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{config} is not YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{config} must hold keys and values, found a {type(recipe).__name__}.")
    known = {item.name for group in groups for item in fields(group) if item.init}
    unknown = sorted(set(map(str, recipe)) - known)
    if unknown:
        raise ValueError(f"{config} has unknown keys: {', '.join(unknown)}.")
    flags = []
    for key, value in recipe.items():
        if value is None:
            continue
        values = [str(item) for item in value] if isinstance(value, list) else [to_flag(value)]
        try:
            parser.parse_args([f"--{key}", *values, *([] if key == "output_dir" else ["--output_dir", "unused"])])
        except ValueError as error:
            raise ValueError(f"{config}, key {key!r}: {error}") from error
        flags += [f"--{key}", *values]
    return parser.parse_args_into_dataclasses(flags + argv)


def to_flag(value) -> str:
    """A YAML value as it would be typed."""
    return json.dumps(value) if isinstance(value, dict) else str(value)


def claim_output_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds something else; clear the checkpoints of an earlier run unless resuming.

    Raises:
        `FileExistsError`: When the folder is a file, or isn't empty and holds no earlier run.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"--output_dir {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "training_args.json").is_file():
        found = sorted(path.name for path in folder.iterdir())[0]
        raise FileExistsError(
            f"--output_dir {folder} holds {found!r} but no training_args.json: it is not an earlier run. "
            "Choose an empty folder."
        )
    if not resume:
        for checkpoint in folder.glob("checkpoint-*"):
            if re.fullmatch(r"checkpoint-\d+", checkpoint.name):
                shutil.rmtree(checkpoint)


def build_processor(data_args: DataArguments, model_args: ModelArguments, captions: list[str], folder: Path):
    """The processor of the checkpoint, or one made for a model from scratch."""
    if model_args.clip is not None or model_args.tokenizer is not None:
        tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer or model_args.clip)
    elif PartialState().is_main_process:
        tokenizer = train_clip_tokenizer(captions, folder)
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    size = 224
    if model_args.vision_config is not None:
        size = json.loads(model_args.vision_config).get("image_size", size)
    video_processor = DRLVideoProcessor(
        fps=data_args.fps,
        max_frames=data_args.max_frames,
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
    )
    return DRLProcessor(video_processor, tokenizer, max_length=data_args.max_words)


def build_model(model_args: ModelArguments, processor: DRLProcessor) -> DRLModel:
    """The model on a CLIP checkpoint's towers, or from scratch."""
    names = ("interaction", "token_weight_depth", "temporal_encoder", "cdcr", "cdcr_lambda", "cdcr_alpha_diagonal")
    config_fields = {name: getattr(model_args, name) for name in (*names, "cdcr_alpha_off_diagonal")}
    if model_args.temporal_config is not None:
        config_fields["temporal_config"] = json.loads(model_args.temporal_config)
    if model_args.clip is not None:
        return DRLModel.from_clip_pretrained(model_args.clip, **config_fields)
    tokenizer = processor.tokenizer
    token_ids = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    for name in ("projection_dim", "logit_scale_init_value"):
        if getattr(model_args, name) is not None:
            config_fields[name] = getattr(model_args, name)
    text_config, vision_config = (json.loads(x or "{}") for x in (model_args.text_config, model_args.vision_config))
    return DRLModel(DRLConfig(text_config={**text_config, **token_ids}, vision_config=vision_config, **config_fields))


def format_results(metrics: dict[str, float]) -> str:
    """A table of both directions."""
    lines = [f"{'':16}{'R@1':>8}{'R@5':>8}{'R@10':>8}{'MdR':>8}{'MnR':>8}{'twins':>8}"]
    for direction, title in (("t2v", "text to video"), ("v2t", "video to text")):
        values = [metrics[f"test_{direction}_{name}"] for name in ("R@1", "R@5", "R@10", "MdR", "MnR")]
        twins = metrics.get(f"test_{direction}_twin_accuracy")
        cells = [f"{value:8.1f}" for value in values] + [f"{twins:8.1f}" if twins is not None else f"{'-':>8}"]
        lines.append(f"{title:16}" + "".join(cells))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Run the recipe."""
    data_args, model_args, args = read_arguments(sys.argv[1:] if argv is None else argv)
    is_main = PartialState().is_main_process
    logging.basicConfig(level=logging.INFO if is_main else logging.ERROR, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    hf_logging.set_verbosity(hf_logging.WARNING if is_main else hf_logging.ERROR)
    # `accelerate launch` gives a process on the CPU a single thread.
    torch.set_num_threads(data_args.num_threads or max(1, (os.cpu_count() or 1) // PartialState().num_processes))
    output_dir = Path(args.output_dir)
    with args.main_process_first(desc="preparing"):
        if is_main:
            claim_output_folder(output_dir, resume=args.resume_from_checkpoint is not None)
            output_dir.mkdir(parents=True, exist_ok=True)
            (output_dir / "training_args.json").write_text(args.to_json_string())
        splits = {
            split: load_benchmark(data_args.benchmark, data_args.root, split)
            for split in ("train", "validation", "test")
        }
        tokenizer_dir = output_dir / "tokenizer"
        captions = splits["train"].captions["caption"][:]
        processor = build_processor(data_args, model_args, captions, tokenizer_dir)

    set_seed(args.seed)
    model = build_model(model_args, processor)
    trainer = DRLTrainer(
        model=model,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=processor,
    )
    resume = args.resume_from_checkpoint
    trainer.train(resume_from_checkpoint=True if resume in ("true", "True") else resume)
    metrics = trainer.evaluate(splits["test"], metric_key_prefix="test")

    trainer.save_model()
    trainer.save_metrics("test", metrics, combined=False)
    trainer.save_state()
    if is_main:
        write_model_card(
            model,
            args,
            {name.removeprefix("test_"): value for name, value in metrics.items()},
            benchmark=data_args.benchmark,
            num_captions=len(splits["test"].captions),
            num_videos=len(splits["test"].videos),
            steps=trainer.state.global_step,
            clip=model_args.clip,
        )
        print(
            f"\n{data_args.benchmark}, test split: {len(splits['test'].captions)} captions, "
            f"{len(splits['test'].videos)} videos; checkpoint chosen on validation\n"
        )
        print(format_results(metrics))
    if data_args.search:
        search(trainer, splits["test"], data_args.search)
    if is_main:
        print(f"\nThe model, its processor and its metrics are in {output_dir}{os.sep}")


def search(trainer: DRLTrainer, data, sentences: list[str]) -> None:
    """Print the three best clips for each sentence."""
    similarity = trainer.search(data, sentences)
    if not trainer.is_world_process_zero():
        return
    for sentence, scores in zip(sentences, similarity, strict=True):
        print(f'\n"{sentence}"')
        for index in scores.topk(3).indices.tolist():
            video = data.videos[index]
            caption = data.captions["caption"][data.caption_to_video.index(index)]
            print(f"  {scores[index]:.3f}  {video['path']}\n         its caption: {caption}")


if __name__ == "__main__":
    main()
