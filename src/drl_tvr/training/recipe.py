"""Read a training recipe: a YAML file, and command-line flags that override its values."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser, PreTrainedConfig

from ..model.configuration_drl import DRLConfig
from ..model.modeling_drl import DRLModel
from .arguments import DRLTrainingArguments


MODEL_FLAG = "--model."
EPILOG = (
    "--config FILE.yaml names a recipe, and the other flags override its values. --model.FIELD VALUE sets a field of "
    "DRLConfig, and --model.text_config.FIELD VALUE one of its text tower; VALUE is read as YAML."
)
FIELDS_OF_NEW_BLOCKS = ("temporal_config", "cross_config")
YAML_BOOL, YAML_FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"


@dataclass
class Recipe:
    """Everything that decides the result of a run, except the arguments of the Trainer.

    Args:
        benchmark (`str`, *optional*, defaults to `"moving-shapes"`): Name of a benchmark, or path of your own data, as
            for [`load_benchmark`].
        root (`str`, *optional*): Folder of the annotation files and videos.
        choose_on (`str`, *optional*, defaults to `"validation"`): Split that chooses the best checkpoint. `"test"` is
            what the official code does; then all of the training split is trained on.
        allow_missing (`bool`, *optional*, defaults to `False`): Whether to continue when videos or captions are
            missing.
        fps (`float`, *optional*, defaults to 1.0): Frames per second of video.
        max_frames (`int`, *optional*, defaults to 12): Largest number of frames per video.
        allow_truncated (`bool`, *optional*, defaults to `False`): Whether to use the readable part of a damaged video.
        max_words (`int`, *optional*, defaults to 32): Largest number of tokens per caption, with start and end.
        clip_name_or_path (`str`, *optional*): `CLIPModel` checkpoint to start from; by default the towers start at
            random.
        train_clip (`bool`, *optional*, defaults to `False`): Whether to train a small CLIP on stills of the bundled
            benchmark first, into the folder `clip_name_or_path`, unless it is there. The flag `--clip_name_or_path`
            alone names a CLIP that is there, and turns this off.
        tokenizer (`str`, *optional*): CLIP tokenizer; by default the one of `clip_name_or_path`, or else one that is
            trained on the captions.

    Attributes:
        model (`dict`): Fields of [`DRLConfig`], from the mapping `model:` of the YAML file and flags like
            `--model.interaction ti`.

    Raises:
        `ValueError`: When a value is out of range; the message names the field.
    """

    benchmark: str = field(default="moving-shapes", metadata={"help": "Name of a benchmark, or path of your data."})
    root: str | None = field(default=None, metadata={"help": "Folder of the annotation files and videos."})
    choose_on: str = field(default="validation", metadata={"help": "Split that chooses the best checkpoint."})
    allow_missing: bool = field(default=False, metadata={"help": "Continue when videos or captions are missing."})
    fps: float = field(default=1.0, metadata={"help": "Frames per second of video."})
    max_frames: int = field(default=12, metadata={"help": "Largest number of frames per video."})
    allow_truncated: bool = field(default=False, metadata={"help": "Use the readable part of a damaged video."})
    max_words: int = field(default=32, metadata={"help": "Largest number of tokens per caption."})
    clip_name_or_path: str | None = field(default=None, metadata={"help": "CLIPModel checkpoint to start from."})
    train_clip: bool = field(default=False, metadata={"help": "Train a small CLIP on stills of the benchmark first."})
    tokenizer: str | None = field(default=None, metadata={"help": "CLIP tokenizer; by default the checkpoint's."})
    model: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self):
        if not 0 < self.fps < float("inf"):
            raise ValueError(f"`fps`: found {self.fps}, expected a finite number above 0.")
        for name, least in (("max_frames", 1), ("max_words", 3)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}`: found {getattr(self, name)}, expected at least {least}.")
        if self.train_clip and (not self.clip_name_or_path or self.benchmark != "moving-shapes"):
            raise ValueError(
                f"`train_clip`: found True with `benchmark`: {self.benchmark!r} and `clip_name_or_path`: "
                f"{self.clip_name_or_path!r}, expected the benchmark 'moving-shapes' and a folder for the CLIP."
            )
        if self.choose_on not in ("validation", "test"):
            raise ValueError(f"`choose_on`: found {self.choose_on!r}, expected 'validation' or 'test'.")

    def settings(self) -> dict[str, Any]:
        """Return all fields as plain values, with the defaults of [`DRLConfig`] for those that `model` leaves out.

        Returns:
            `dict`: Two recipes with equal settings train the same model.
        """
        own = DRLConfig.__annotations__  # without the fields that every configuration of transformers has
        defaults = {item.name: item.default for item in fields(DRLConfig) if item.name in own}
        return {**asdict(self), "model": {**defaults, **self.model}}


@dataclass
class RunOptions:
    """Options of a run that do not change the model.

    Args:
        overwrite_output_dir (`bool`, *optional*, defaults to `False`): Whether to start over in a folder that holds
            another run, or the same run finished.
        num_threads (`int`, *optional*): CPU threads per process; by default the processes share all cores.
        search (`list[str]`, *optional*): Sentences to search the test videos for after training.

    Raises:
        `ValueError`: When `num_threads` is below 1.
    """

    overwrite_output_dir: bool = field(default=False, metadata={"help": "Start over in the folder of another run."})
    num_threads: int | None = field(default=None, metadata={"help": "CPU threads per process."})
    search: list[str] = field(default_factory=list, metadata={"help": "Sentences to search the test videos for."})

    def __post_init__(self):
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(f"`num_threads`: found {self.num_threads}, expected at least 1.")


class RaisingParser(HfArgumentParser):
    """Parser that raises an error where argparse ends the process."""

    def error(self, message):
        raise ValueError(message)


class RecipeLoader(yaml.SafeLoader):
    """Loader that reads scalars as YAML 1.2 does: `1e-3` is a number, and `no` is a word."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (YAML_BOOL, YAML_FLOAT)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Make a mapping, and refuse a key that occurs twice, of which YAML would take the last."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"found the key {key!r} twice, expected it once", node.start_mark
                )
        return super().construct_mapping(node, deep)


RecipeLoader.add_implicit_resolver(YAML_BOOL, re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
RecipeLoader.add_implicit_resolver(
    YAML_FLOAT,
    re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|[-+]?\.inf$|\.nan$"),
    list("-+.0123456789"),
)


def parse_recipe(
    argv: Sequence[str], default: str | os.PathLike | None = None
) -> tuple[Recipe, RunOptions, DRLTrainingArguments]:
    """Read the YAML file of `--config` and the flags that override its values.

    Each field of [`~training.recipe.Recipe`], [`~training.recipe.RunOptions`] and [`DRLTrainingArguments`] is a key of
    the file and a flag. The key `model` holds a mapping of fields of [`DRLConfig`]; the flags for it are dotted,
    `--model.text_config.hidden_size 64`, and their values are read as YAML.

    Args:
        argv (`Sequence[str]`): The command line, without the name of the program.
        default (`str` or `os.PathLike`, *optional*): File to read when the flags name neither `--config` nor
            `--clip_name_or_path`. With `--clip_name_or_path` alone, the defaults are the recipe of the paper.

    Returns:
        `tuple`: The [`~training.recipe.Recipe`], the [`~training.recipe.RunOptions`] and the
        [`DRLTrainingArguments`].

    Raises:
        `FileNotFoundError`: When there is no file of that name.
        `ValueError`: When a key or flag is unknown, or a value has the wrong type or is out of range. The message
            names the file and the key, or the flag.

    Example:

    ```python
    >>> from drl_tvr.training.recipe import parse_recipe

    >>> flags = ["--clip_name_or_path", "openai/clip-vit-base-patch32", "--output_dir", "outputs/ti", "--use_cpu"]
    >>> recipe, options, args = parse_recipe([*flags, "--model.interaction", "ti"])
    >>> recipe.model, recipe.max_frames, args.learning_rate
    ({'interaction': 'ti'}, 12, 0.0001)

    ```"""
    argv, model_flags = split_model_flags(argv)
    first = RaisingParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    named, argv = first.parse_known_args(argv)
    parser = RaisingParser((Recipe, RunOptions, DRLTrainingArguments), allow_abbrev=False, epilog=EPILOG)
    flags = parser.parse_args(argv)
    starts_from_clip = flags.clip_name_or_path is not None
    file = named.config if named.config is not None else None if starts_from_clip else default
    content = read_recipe(file) if file is not None else {}
    if starts_from_clip and not flags.train_clip:  # the recipe would train its own CLIP in place of the named one
        content.pop("train_clip", None)
    model = content.pop("model", None)
    model = {} if model is None else model
    if not isinstance(model, dict):
        raise ValueError(f"{file}, key 'model': found {model!r}, expected a mapping of fields of DRLConfig.")
    sources = [f"{file}, key 'model'"] * bool(model) + list(model_flags)

    set_defaults(parser, file, content)
    if parser.parse_args(argv).output_dir is None:
        raise ValueError("--output_dir: found nothing, expected the folder for the trained model.")
    recipe, options, args = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    try:
        for flag, value in model_flags.items():
            set_field(model, flag.removeprefix(MODEL_FLAG), value)
        check_model_fields(model, from_clip=recipe.clip_name_or_path is not None)
    except ValueError as error:
        raise ValueError(f"{', '.join(sources)}: {error}") from error
    recipe.model = model
    return recipe, options, args


def split_model_flags(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate the flags of the model, with their values read as YAML, from the other words of a command line.

    Raises:
        `ValueError`: When a flag has no value, or a value is not YAML.
    """
    others, flags = [], {}
    words = iter(argv)
    for word in words:
        if not word.startswith(MODEL_FLAG):
            others.append(word)
            continue
        flag, equals, text = word.partition("=")
        if not equals:
            text = next(words, "--")
            if text.startswith("--"):
                raise ValueError(f"{flag}: found no value, expected one, written as in YAML.")
        flags[flag] = load_yaml(text, flag)
    return others, flags


def read_recipe(file: str | os.PathLike) -> dict:
    """Read the keys and values of a recipe file.

    Raises:
        `FileNotFoundError`: When there is no such file.
        `ValueError`: When it is not YAML, or holds something other than keys and values.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"--config: found no file {os.fspath(file)!r}, expected a YAML file.")
    try:
        content = load_yaml(Path(file).read_text(encoding="utf-8"), file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected YAML in UTF-8, found other bytes ({error}).") from error
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"{file}: found a {type(content).__name__}, expected keys and values.")
    return content or {}


def load_yaml(text: str, source: str | os.PathLike) -> Any:
    """Read YAML, and name its source when it is invalid.

    Raises:
        `ValueError`: When the text is not YAML.
    """
    try:
        return yaml.load(text, RecipeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{source}: found invalid YAML: {error}.") from error


def set_defaults(parser: HfArgumentParser, file: str | os.PathLike | None, content: dict) -> None:
    """Make the values of a file the defaults of a parser, each read as the flag of its name would be.

    Raises:
        `ValueError`: When a key is unknown, or a value has the wrong type.
    """
    known = {item.name for group in parser.dataclass_types for item in fields(group) if item.init}
    unknown = sorted(set(map(str, content)) - known)
    if unknown:
        raise ValueError(f"{file}: found unknown keys: {', '.join(unknown)}.")
    for key, value in content.items():
        if value is None or value == []:
            continue
        if isinstance(value, list):
            flag = [f"--{key}", *map(str, value)]
        else:
            flag = [f"--{key}={json.dumps(value) if isinstance(value, dict) else value}"]
        try:
            parsed = parser.parse_args(flag)
        except ValueError as error:
            raise ValueError(f"{file}, key {key!r}: {error}.") from error
        parser.set_defaults(**{key: getattr(parsed, key)})


def set_field(mapping: dict, name: str, value: Any) -> None:
    """Set a field of a nested mapping by its dotted name.

    Raises:
        `ValueError`: When the name leads through something other than a mapping.

    Example:

    ```python
    >>> from drl_tvr.training.recipe import set_field

    >>> model = {"interaction": "wti"}
    >>> set_field(model, "text_config.hidden_size", 64)
    >>> model
    {'interaction': 'wti', 'text_config': {'hidden_size': 64}}

    ```"""
    *parents, last = name.split(".")
    for parent in parents:
        if mapping.get(parent) is None:
            mapping[parent] = {}
        mapping = mapping[parent]
        if not isinstance(mapping, dict):
            raise ValueError(f"`{parent}`: found {mapping!r}, expected a mapping.")
    mapping[last] = value


def check_model_fields(model: dict, from_clip: bool) -> None:
    """Refuse fields that [`DRLConfig`] would refuse, and unknown fields of a tower, which it would ignore.

    Raises:
        `ValueError`: When a field is unknown, has an invalid value, or is decided by the CLIP checkpoint.
    """
    for name in DRLModel.CLIP_FIELDS:
        if from_clip and name in model:
            raise ValueError(f"`{name}`: found {model[name]!r}, expected none: the CLIP checkpoint decides it.")
    inherited = sorted({item.name for item in fields(PreTrainedConfig)} & set(model))
    if inherited:  # they say how transformers runs a model, as `return_dict` does
        raise ValueError(f"{', '.join(inherited)}: found fields of transformers, expected fields of DRLConfig.")
    # How wide the tokens of a checkpoint are is not known before it is loaded.
    checked_alone = FIELDS_OF_NEW_BLOCKS if from_clip else ()
    try:
        for name, config_class in DRLConfig.sub_configs.items():
            part = model.get(name)
            if part is None:
                continue
            if not isinstance(part, dict):
                raise ValueError(f"`{name}`: found {part!r}, expected a mapping.")
            unknown = sorted(set(map(str, part)) - set(config_class.default_config_fields()))
            if unknown:
                raise ValueError(f"`{name}`: found unknown fields: {', '.join(unknown)}.")
            if name in checked_alone:
                config_class(**part)
        DRLConfig(**{name: value for name, value in model.items() if name not in checked_alone})
    except (StrictDataclassError, TypeError) as error:  # wrong types are not ValueErrors there
        raise ValueError(str(error)) from error


__all__ = ["Recipe", "RunOptions", "parse_recipe"]
