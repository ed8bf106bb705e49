"""Trains, evaluates and saves a DRL model.

    accelerate launch examples/train_tvr.py                               # the bundled benchmark, from scratch
    accelerate launch examples/train_tvr.py --config FILE.yaml            # a recipe; flags override its values
    accelerate launch examples/train_tvr.py --clip CHECKPOINT --output_dir DIR    # the paper's recipe on CLIP's towers
    accelerate launch --num_processes 4 examples/train_tvr.py             # several GPUs
    torchrun --standalone --nproc_per_node 2 examples/train_tvr.py --use_cpu    # several processes on the CPU

Without arguments this is the recipe of `configs/moving_shapes.yaml`: some six minutes on 2 CPU cores. Every field of
the groups of arguments below, `DRLTrainingArguments` included, is a flag and a key of the YAML file.
"""

import json
import logging
import os
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import torch
import yaml
from accelerate import PartialState
from transformers import CLIPConfig, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig, HfArgumentParser, set_seed
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
from drl_tvr.data.tokenizer import train_clip_tokenizer
from drl_tvr.evaluation import describe_data, describe_model, library_versions, make_result
from drl_tvr.hub import push_checkpoint
from drl_tvr.training.distributed import in_first_process
from drl_tvr.training.output_folder import check_one_disk, end_with_launcher
from drl_tvr.training.run import RESULTS_FILE, begin_run, write_json


DEFAULT_CONFIG = Path(__file__).parent / "configs" / "moving_shapes.yaml"
TOWERS = ("text_config", "vision_config")
WIDTHS = ("projection_dim", "logit_scale_init_value")
HEADS = ("temporal_config", "cross_config")
TWINS = ("t2v_twin_accuracy", "v2t_twin_accuracy")
CONFIG_FIELDS = (
    "interaction",
    "token_weight_depth",
    "temporal_encoder",
    "padding_similarity",
    "cdcr",
    "cdcr_lambda",
    "cdcr_alpha_diagonal",
    "cdcr_alpha_off_diagonal",
)


@dataclass
class DataArguments:
    """What to train on, and how videos and captions are cut."""

    benchmark: str = field(default="moving-shapes", metadata={"help": "A benchmark's name, or a file of one's own."})
    root: str | None = field(default=None, metadata={"help": "Folder of its annotations and videos."})
    choose_on: str = field(default="validation", metadata={"help": "validation, or test as the official code does."})
    allow_missing: bool = field(default=False, metadata={"help": "Go on when videos or captions are missing."})
    fps: float = field(default=1.0, metadata={"help": "Frames to take per second."})
    max_frames: int = field(default=12, metadata={"help": "Most frames of a video."})
    allow_truncated: bool = field(default=False, metadata={"help": "Use the readable part of a damaged video."})
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
    cross_config: str | None = field(default=None, metadata={"help": "Cross transformer of xti, as JSON."})
    projection_dim: int | None = field(default=None, metadata={"help": "Width of the tokens, from scratch."})
    logit_scale_init_value: float | None = field(default=None, metadata={"help": "Log of the logit scale at first."})
    interaction: str = field(default="wti", metadata={"help": "wti, ti, dp, mlp or xti."})
    token_weight_depth: int = field(default=2, metadata={"help": "Layers of the token weights: 1, 2 or 3."})
    temporal_encoder: str = field(default="transformer", metadata={"help": "transformer, lstm or none."})
    padding_similarity: str = field(default="ignore", metadata={"help": "ignore, or zero as in the official code."})
    cdcr: str = field(default="weighted", metadata={"help": "weighted, argmax, random or none."})
    cdcr_lambda: float = field(default=0.001, metadata={"help": "Weight of the decorrelation."})
    cdcr_alpha_diagonal: float = field(default=0.11, metadata={"help": "Weight of its diagonal."})
    cdcr_alpha_off_diagonal: float = field(default=0.0, metadata={"help": "Weight of the rest."})


class StrictParser(HfArgumentParser):
    """Raises where argparse exits."""

    def error(self, message):
        raise ValueError(message)


def read_arguments(argv: list[str]) -> tuple[DataArguments, ModelArguments, DRLTrainingArguments]:
    """Merge the YAML file of `--config` with the flags after it, and check what can be checked without data.

    Without `--config` the recipe is the bundled one, or with `--clip` none: then the defaults are the paper's.

    Raises:
        `ValueError`: For an unknown key or flag, or a value of the wrong type or out of range; names file and key.
    """
    groups = (DataArguments, ModelArguments, DRLTrainingArguments)
    parser = StrictParser(groups, allow_abbrev=False)
    if "-h" in argv or "--help" in argv:
        parser.print_help()
        sys.exit(0)
    argv = list(argv)
    starts_from_clip = any(argument == "--clip" or argument.startswith("--clip=") for argument in argv)
    config = None if starts_from_clip else DEFAULT_CONFIG
    for index, argument in enumerate(argv):
        if argument == "--config" or argument.startswith("--config="):
            value = argument.partition("=")[2] or (argv[index + 1] if index + 1 < len(argv) else "")
            if not Path(value).is_file():
                raise FileNotFoundError(f"--config {value!r}: there is no such file.")
            config = Path(value)
            del argv[index : index + (1 if "=" in argument else 2)]
            break
    try:
        recipe = yaml.safe_load(config.read_text(encoding="utf-8")) or {} if config else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{config} is not YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{config} must hold keys and values, found a {type(recipe).__name__}.")
    known = {item.name for group in groups for item in fields(group) if item.init}
    unknown = sorted(set(map(str, recipe)) - known)
    if unknown:
        raise ValueError(f"{config} has unknown keys: {', '.join(unknown)}.")
    flags = []
    for key, value in recipe.items():
        if value is None or value == []:
            continue
        values = [str(item) for item in value] if isinstance(value, list) else [to_flag(value)]
        try:
            parser.parse_args([f"--{key}", *values, *([] if key == "output_dir" else ["--output_dir", "unused"])])
        except ValueError as error:
            raise ValueError(f"{config}, key {key!r}: {error}") from error
        flags += [f"--{key}", *values]
    data_args, model_args, args = parser.parse_args_into_dataclasses(flags + argv)
    if starts_from_clip and not any(argument.split("=")[0] == "--output_dir" for argument in flags + argv):
        raise ValueError("--clip needs --output_dir, the folder of the trained model.")
    check_arguments(data_args, model_args)
    return data_args, model_args, args


def check_arguments(data_args: DataArguments, model_args: ModelArguments) -> None:
    """Refuse what would fail only after hours of rendering, decoding or downloading.

    Raises:
        `ValueError`: Names the field, the value found and what was expected.
    """
    if not data_args.fps > 0:
        raise ValueError(f"`fps` must be above 0, got {data_args.fps}.")
    for name, least in (("max_frames", 1), ("max_words", 3)):
        if getattr(data_args, name) < least:
            raise ValueError(f"`{name}` must be at least {least}, got {getattr(data_args, name)}.")
    if data_args.choose_on not in ("validation", "test"):
        raise ValueError(f"`choose_on` must be 'validation' or 'test', got {data_args.choose_on!r}.")
    for name, config_class in zip(TOWERS, (CLIPTextConfig, CLIPVisionConfig), strict=True):
        unknown = sorted(set(read_mapping(model_args, name)) - set(config_class.default_config_fields()))
        if unknown:
            raise ValueError(f"`{name}` has no field {', '.join(unknown)}.")
    if model_args.clip is not None:
        for name in (*TOWERS, *WIDTHS):
            if getattr(model_args, name) is not None:
                raise ValueError(f"`{name}` is for a model from scratch; with `clip` it is the checkpoint's.")
    DRLConfig(
        **{name: read_mapping(model_args, name) for name in TOWERS},
        **given_widths(model_args),
        # With `clip` the width is not known yet; `from_clip_pretrained` compares it.
        **{
            name: value
            for name, value in config_fields(model_args).items()
            if name not in HEADS or not model_args.clip
        },
    )


def read_mapping(model_args: ModelArguments, name: str) -> dict:
    """A field that holds JSON.

    Raises:
        `ValueError`: When it isn't JSON, or not a mapping.
    """
    text = getattr(model_args, name)
    try:
        value = json.loads(text) if text is not None else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"`{name}` is not JSON ({error}): {text!r}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"`{name}` must be a mapping, got {text!r}.")
    return value


def config_fields(model_args: ModelArguments) -> dict:
    """The fields of DRLConfig that a model from CLIP and one from scratch share."""
    heads = {name: read_mapping(model_args, name) for name in HEADS if getattr(model_args, name) is not None}
    return {name: getattr(model_args, name) for name in CONFIG_FIELDS} | heads


def given_widths(model_args: ModelArguments) -> dict:
    """The fields of DRLConfig that a CLIP checkpoint would decide and that were given."""
    return {name: getattr(model_args, name) for name in WIDTHS if getattr(model_args, name) is not None}


def to_flag(value) -> str:
    """A YAML value as it would be typed."""
    return json.dumps(value) if isinstance(value, dict) else str(value)


def load_splits(data_args: DataArguments) -> dict[str, RetrievalData]:
    """The splits to train on, to choose the checkpoint on and to test on.

    Choosing on the test split, as the official code does, leaves all of train to train on.
    """
    names = ("train", "test") if data_args.choose_on == "test" else ("train", "validation", "test")
    return {
        split: load_benchmark(
            data_args.benchmark,
            data_args.root,
            split,
            hold_out=data_args.choose_on == "validation",
            allow_missing=data_args.allow_missing,
        )
        for split in names
    }


def build_processor(data_args: DataArguments, model_args: ModelArguments, captions: list[str], folder: Path):
    """The processor of the checkpoint, or one made for a model from scratch."""
    if model_args.clip is None and model_args.tokenizer is None and PartialState().is_main_process:
        tokenizer = train_clip_tokenizer(captions, folder)
    else:
        source = model_args.tokenizer or model_args.clip or folder
        tokenizer = CLIPTokenizer.from_pretrained(source)
        if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes of a folder without files
            raise FileNotFoundError(f"{source} holds no CLIP tokenizer: expected vocab.json and merges.txt.")
    if model_args.clip is not None:
        size = CLIPConfig.from_pretrained(model_args.clip).vision_config.image_size
    else:
        size = CLIPVisionConfig(**read_mapping(model_args, "vision_config")).image_size
    pads = model_args.padding_similarity == "zero"
    video_processor = DRLVideoProcessor(
        fps=data_args.fps,
        max_frames=data_args.max_frames,
        allow_truncated=data_args.allow_truncated,
        pad_to_max_frames=pads,
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
    )
    return DRLProcessor(video_processor, tokenizer, max_length=data_args.max_words, pad_to_max_length=pads)


def build_model(model_args: ModelArguments, processor: DRLProcessor) -> DRLModel:
    """The model on a CLIP checkpoint's towers, or from scratch."""
    if model_args.clip is not None:
        return DRLModel.from_clip_pretrained(model_args.clip, **config_fields(model_args))
    tokenizer = processor.tokenizer
    token_ids = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = DRLConfig(
        text_config={**read_mapping(model_args, "text_config"), **token_ids},
        vision_config=read_mapping(model_args, "vision_config"),
        **given_widths(model_args),
        **config_fields(model_args),
    )
    return DRLModel(config)


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
    end_with_launcher()
    is_main = PartialState().is_main_process
    logging.basicConfig(level=logging.INFO if is_main else logging.ERROR, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    hf_logging.set_verbosity(hf_logging.WARNING if is_main else hf_logging.ERROR)
    # `accelerate launch` gives a process on the CPU a single thread.
    torch.set_num_threads(data_args.num_threads or max(1, (os.cpu_count() or 1) // PartialState().num_processes))
    output_dir = Path(args.output_dir)
    launch = {"num_processes": PartialState().num_processes}
    recipe = {"data": asdict(data_args), "model": asdict(model_args), "launch": launch}
    resume, finished = in_first_process(lambda: begin_run(args, recipe))
    check_one_disk(output_dir)
    if finished:
        if is_main:
            print(f"\nThis run is finished, in {output_dir}{os.sep}; --overwrite_output_dir starts it over.\n")
            print(format_results(json.loads((output_dir / RESULTS_FILE).read_text())))
        use_finished(data_args, args, is_main)
        return
    with args.main_process_first(local=False, desc="preparing"):
        splits = load_splits(data_args)
        tokenizer_dir = output_dir / "tokenizer"
        captions = splits["train"].captions["caption"][:]
        processor = build_processor(data_args, model_args, captions, tokenizer_dir)

    set_seed(args.seed)
    model = build_model(model_args, processor)
    trainer = DRLTrainer(
        model=model,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits[data_args.choose_on],
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=resume)
    metrics = trainer.evaluate(splits["test"], metric_key_prefix="test")

    trainer.save_model(_internal_call=True)  # which leaves the push for the end
    trainer.save_state()
    if is_main:
        owners = splits["test"].caption_to_video
        result = make_result(
            trainer.ranks,
            owners,
            data=describe_data(splits["test"]),
            model={**describe_model(model, processor, output_dir), "chosen_on": data_args.choose_on},
            versions=library_versions(),
            more_metrics={name: metrics[f"test_{name}"] for name in TWINS if f"test_{name}" in metrics},
        )
        result.save(output_dir / "test_evaluation.json")
        trainer.create_model_card(finetuned_from=model_args.clip)
        provenance = {
            **splits["test"].provenance,
            "chosen_on": data_args.choose_on,
            "train": splits["train"].provenance,
        }
        write_json(output_dir / "test_provenance.json", provenance)
        write_json(output_dir / RESULTS_FILE, metrics)
        print(
            f"\n{data_args.benchmark}, test split: {len(splits['test'].captions)} captions, "
            f"{len(splits['test'].videos)} videos; checkpoint chosen on {data_args.choose_on}\n"
        )
        print(format_results(metrics))
    if data_args.search:
        search(trainer, splits["test"], data_args.search)
    if is_main:
        print(f"\nThe model, its processor and its metrics are in {output_dir}{os.sep}")
    if args.push_to_hub:
        trainer.push_to_hub(finetuned_from=model_args.clip)


def use_finished(data_args: DataArguments, args: DRLTrainingArguments, is_main: bool) -> None:
    """What a finished run may still be asked for: to search with its model, and to push it."""
    if data_args.search:
        model, processor = DRLModel.from_pretrained(args.output_dir), DRLProcessor.from_pretrained(args.output_dir)
        test = load_splits(data_args)["test"]
        quiet = replace(args, push_to_hub=False)  # a trainer would make the repository at once
        search(DRLTrainer(model, quiet, eval_dataset=test, processing_class=processor), test, data_args.search)
    if args.push_to_hub and is_main:
        repository = args.hub_model_id or Path(args.output_dir).absolute().name
        how = {"private": bool(args.hub_private_repo), "revision": args.hub_revision, "token": args.hub_token}
        commit = push_checkpoint(args.output_dir, repository, message="End of training", **how)
        print(f"\nPublished: {commit.commit_url}")


def search(trainer: DRLTrainer, data, sentences: list[str]) -> None:
    """Print the three best clips for each sentence."""
    similarity = trainer.search(data, sentences)
    if not trainer.is_world_process_zero():
        return
    for sentence, scores in zip(sentences, similarity, strict=True):
        print(f'\n"{sentence}"')
        for index in scores.topk(min(3, len(scores))).indices.tolist():
            video = data.videos[index]
            caption = data.captions["caption"][data.caption_to_video.index(index)]
            print(f"  {scores[index]:.3f}  {video['path']}\n         its caption: {caption}")


if __name__ == "__main__":
    main()
