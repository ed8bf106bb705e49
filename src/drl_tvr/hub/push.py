"""Publish a checkpoint folder on the Hub in one commit: weights, processor, code, card and results."""

import json
import logging
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, constants
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import validate_repo_id

from .. import model as model_package
from ..evaluation.trained_model import load_trained
from ..model.processing_drl import DRLProcessor
from ..model.publishing import DRLPublishMixin


logger = logging.getLogger(__name__)

WEIGHTS_FILE, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
# Files of the folder that are published beside the weights; `*_results.json` are the results of evaluations.
PUBLISHED = (
    "README.md", "LICENSE*", "NOTICE*", "config.json", "processor_config.json", "preprocessor_config.json",
    "video_preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "*_results.json", "*.png",
)  # fmt: skip
# Files of an earlier push that `from_pretrained` would prefer to the new weights, and pickles.
STALE = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*", "training_args.bin")
# The line of a card's example that names the model.
CARD_NAME = re.compile(r'^name = "[^"\n]*"', re.MULTILINE)


class PublishError(ValueError):
    """Folder or repository that cannot be published; the message names the file and what is wrong with it."""


def push_checkpoint(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload DRL model",
    token: str | None = None,
) -> CommitInfo:
    """Publish a checkpoint folder on the Hub.

    The folder is loaded first, and is not changed: the name of the repository in the card and the names of the code in
    the configurations are set in the uploaded files only. Unchanged files are not uploaded again. Everything is one
    commit, so that a reader of the repository finds the state before or the state after. Weights of an earlier push
    that this one does not have are deleted.

    Args:
        folder (`str` or `os.PathLike`): A folder written by [`DRLTrainer`], `save_pretrained` or `drl-tvr convert`,
            with a `README.md`.
        repo_id (`str`): `"user/name"` or `"name"`; the repository is created when it does not exist.
        private (`bool`, *optional*, defaults to `False`): Whether only the owner can see the repository.
        revision (`str`, *optional*, defaults to `"main"`): A branch, created from `main` when it does not exist.
        message (`str`, *optional*, defaults to `"Upload DRL model"`): Message of the commit.
        token (`str`, *optional*): A Hub token; by default that of `HF_TOKEN` or of `hf auth login`.

    Returns:
        `huggingface_hub.CommitInfo`: The commit; `oid` and `commit_url` name it.

    Raises:
        [`~hub.PublishError`]: When the folder is incomplete or cannot be loaded, or the repository is public although
            `private` is set.
        `ConnectionError`: When the network is disabled or the connection fails. The repository is then unchanged, or
            has the whole commit when only the answer was lost.
        `OSError`: When the Hub refuses the request, as `HfHubHTTPError` of huggingface_hub.

    Example:

    ```python
    # needs: the Hub
    >>> from drl_tvr.hub import push_checkpoint

    >>> push_checkpoint("outputs/moving-shapes", "me/drl-moving-shapes", private=True).oid
    '4a0c5f7...'
    ```"""
    validate_repo_id(repo_id)
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(
            f"Nothing is published to {repo_id}: `HF_HUB_OFFLINE` is set, which disables the network."
        )
    folder = Path(folder)
    files = files_to_publish(folder)
    auto_maps = read_auto_maps(folder)
    contents_to_publish(files, repo_id, auto_maps)  # fail before the repository is created
    api = HfApi(library_name="drl_tvr", token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private or None, exist_ok=True).repo_id
        if private and not api.model_info(repo_id).private:
            raise PublishError(
                f"{repo_id}: found a public repository, expected a private one. Change it on the Hub, or push without "
                "`private`."
            )
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        contents = contents_to_publish(files, repo_id, auto_maps)
        before = api.model_info(repo_id, revision=revision).sha
        existing = api.list_repo_files(repo_id, revision=revision)
        stale = [name for name in existing if matches(name, STALE) and name not in contents]
        additions = [CommitOperationAdd(name, content) for name, content in contents.items()]
        deletions = [CommitOperationDelete(name) for name in stale]
        # Not `upload_folder`, which may split one folder into several commits.
        commit = api.create_commit(repo_id, [*additions, *deletions], commit_message=message, revision=revision)
        if commit.oid == before:
            logger.info("Nothing has changed: %s stays at %s.", repo_id, before)
        return commit
    except OSError:  # the Hub's own message says what it refuses
        raise
    except (HTTPError, RuntimeError) as error:
        reason = error.__cause__ or error
        raise ConnectionError(
            f"The connection to {api.endpoint} failed while {folder} was pushed to {repo_id}. The repository is "
            f"unchanged, or has the whole commit if only the answer was lost: {type(reason).__name__}: {reason}"
        ) from error


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def files_to_publish(folder: Path) -> list[Path]:
    """List the files of a checkpoint folder that are published, and log the others.

    Args:
        folder (`Path`): The checkpoint folder.

    Returns:
        `list[Path]`: The files, in alphabetical order.

    Raises:
        [`~hub.PublishError`]: When the folder is not a complete checkpoint.
    """
    if not folder.is_dir():
        raise PublishError(f"{folder} is not a folder.")
    for name, needed in (
        ("config.json", "the model's configuration"),
        ("README.md", "the model card, as DRLTrainer or `drl_tvr.hub.write_model_card` writes it"),
        ("processor_config.json", "the processor, as `DRLProcessor.save_pretrained` writes it"),
    ):
        if not (folder / name).is_file():
            raise PublishError(f"{folder}: found no {name}, expected {needed}.")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        raise PublishError(f"{folder}: found no tokenizer, expected tokenizer.json or vocab.json.")
    model_type = read_json(folder / "config.json").get("model_type")
    if model_type != "drl":
        raise PublishError(f"{folder / 'config.json'}: `model_type`: found {model_type!r}, expected 'drl'.")
    try:
        metadata = ModelCard.load(folder / "README.md").data.to_dict()
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise PublishError(f"{folder / 'README.md'}: the metadata cannot be read: {error}") from error
    if not metadata:
        raise PublishError(
            f"{folder / 'README.md'}: found no metadata, expected it at the beginning between two lines of `---`."
        )
    names = [*weight_files(folder), *(p.name for p in folder.iterdir() if p.is_file() and matches(p.name, PUBLISHED))]
    for name in names:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise PublishError(
                f"{folder / name}: found a link to {(folder / name).resolve()}, expected a file in the folder."
            )
    others = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    others = [name for name in others if name not in names]
    if others:
        logger.info("Not published: %s", ", ".join(others))
    return [folder / name for name in sorted(names)]


def weight_files(folder: Path) -> list[str]:
    """List the files of the weights: a single file, or an index and its shards.

    Args:
        folder (`Path`): The checkpoint folder.

    Returns:
        `list[str]`: Names of the files.

    Raises:
        [`~hub.PublishError`]: When there are no weights, or a shard is missing.
    """
    has_file, has_index = (folder / WEIGHTS_FILE).is_file(), (folder / WEIGHTS_INDEX).is_file()
    if has_file and has_index:
        raise PublishError(
            f"{folder}: found both {WEIGHTS_FILE} and {WEIGHTS_INDEX}, expected one of them. Remove the files that do "
            "not belong to the model."
        )
    if has_file:
        return [WEIGHTS_FILE]
    if not has_index:
        raise PublishError(
            f"{folder}: found no weights, expected {WEIGHTS_FILE} or {WEIGHTS_INDEX}. Pickles are not published."
        )
    weight_map = read_json(folder / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise PublishError(
            f"{folder / WEIGHTS_INDEX}: `weight_map`: found {type(weight_map).__name__}, expected a mapping."
        )
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or not matches(shard, ("*.safetensors",)):
            raise PublishError(
                f"{folder / WEIGHTS_INDEX}: `weight_map`: found {shard!r}, expected a .safetensors file of the folder."
            )
        if not (folder / shard).is_file():
            raise PublishError(f"{folder}: found no {shard}, expected it because {WEIGHTS_INDEX} names it.")
    return [WEIGHTS_INDEX, *shards]


def read_auto_maps(folder: Path) -> dict[str, dict[str, str]]:
    """Load the model and the processor, and name the classes that the auto classes load.

    Args:
        folder (`Path`): The checkpoint folder; nothing outside it is used.

    Returns:
        `dict[str, dict[str, str]]`: For each configuration file, names such as `"modeling_drl.DRLModel"` by auto
        classes such as `"AutoModel"`.

    Raises:
        [`~hub.PublishError`]: When the folder cannot be loaded.
    """
    try:
        model = load_trained(folder)
        processor = DRLProcessor.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError) as error:
        raise PublishError(f"{folder} cannot be published: {error}") from error
    vocab_size = model.config.text_config.vocab_size
    if len(processor.tokenizer) > vocab_size:
        raise PublishError(
            f"{folder}: found a tokenizer of {len(processor.tokenizer)} entries, expected at most {vocab_size}, the "
            "vocabulary of the text tower."
        )
    return {"config.json": auto_map_of(model), "processor_config.json": auto_map_of(processor)}


def auto_map_of(published: DRLPublishMixin) -> dict[str, str]:
    """Name the class that each auto class of `published_as` loads, as `module.Class`."""
    auto_map = {}
    for attribute, auto_class in published.published_as.items():
        part = type(published if attribute is None else getattr(published, attribute))
        auto_map[auto_class] = f"{part.__module__.rpartition('.')[-1]}.{part.__name__}"
    return auto_map


def contents_to_publish(
    files: list[Path], repo_id: str, auto_maps: dict[str, dict[str, str]]
) -> dict[str, Path | bytes]:
    """Make the contents of the repository.

    Args:
        files (`list[Path]`): The files of the folder.
        repo_id (`str`): Name of the repository, which the card is to name.
        auto_maps (`dict[str, dict[str, str]]`): For each configuration file, the classes that it is to name.

    Returns:
        `dict[str, Path | bytes]`: By the name in the repository, a file or its content.

    Raises:
        [`~hub.PublishError`]: When `processor_config.json` does not hold the video processor.
    """
    contents: dict[str, Path | bytes] = {path.name: path for path in code_files()}
    for path in files:
        contents[path.name] = path
        if path.name in auto_maps:
            config = {**read_json(path), "auto_map": auto_maps[path.name]}
            if path.name == "processor_config.json":
                video_processor = config.get("video_processor")
                if not isinstance(video_processor, dict):
                    raise PublishError(
                        f"{path}: `video_processor`: found {type(video_processor).__name__}, expected the settings of "
                        "the video processor, as `DRLProcessor.save_pretrained` writes them."
                    )
                config["video_processor"] = {**video_processor, "auto_map": auto_maps[path.name]}
            contents[path.name] = to_json(config)
        elif path.name == "README.md":
            text = path.read_text(encoding="utf-8")
            contents[path.name] = CARD_NAME.sub(lambda _: f'name = "{repo_id}"', text, count=1).encode()
    return contents


def code_files() -> list[Path]:
    """List the files that `trust_remote_code=True` loads: all modules of the folder `model`, but not `__init__`."""
    folder = Path(model_package.__file__).parent
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def read_json(path: Path) -> dict:
    """Read a JSON file that holds a mapping.

    Raises:
        [`~hub.PublishError`]: When the file is not JSON, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PublishError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise PublishError(f"{path}: found a {type(content).__name__}, expected a mapping.")
    return content


def to_json(content: dict) -> bytes:
    """Encode a configuration in the form that transformers writes."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


__all__ = ["PublishError", "push_checkpoint"]
