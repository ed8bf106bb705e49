"""Publishes a trained checkpoint: what loads it, what describes it, and nothing else, in one commit."""

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
from transformers.dynamic_module_utils import get_relative_import_files

from ..evaluation.trained_model import load_trained
from ..model import modeling_drl, processing_drl, video_processing_drl
from ..model.processing_drl import DRLProcessor


logger = logging.getLogger(__name__)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Beside the weights and the code. `*_results.json` and `*_provenance.json` are what an evaluation leaves.
PUBLISHED = (
    "README.md", "LICENSE*", "NOTICE*", "config.json", "processor_config.json", "preprocessor_config.json",
    "video_preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "*_results.json", "*_evaluation.json",
    "*_provenance.json", "*.png",
)  # fmt: skip
# What an earlier push may have left and `from_pretrained` would still prefer, or a pickle.
STALE = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*", "training_args.bin")
# The one line of a card that says where the model is.
CARD_NAME = re.compile(r'^name = "[^"\n]*"', re.MULTILINE)


class PublishError(ValueError):
    """A folder or an address that can't be published to; the message names the file and what is wrong with it."""


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

    The folder is loaded first, and read only: the card names `repo_id`, and the configurations name the code, in what
    is uploaded alone. Files that have not changed are not uploaded again. All is one commit, so that whoever loads the
    repository sees the state before or the state after; weights of an earlier push that this one lacks go with it.

    Args:
        folder (`str` or `os.PathLike`): What [`DRLTrainer`], `save_pretrained` or `drl-tvr convert` wrote, with a
            `README.md`.
        repo_id (`str`): `"user/name"` or `"name"`; the repository is made when absent.
        private (`bool`, *optional*, defaults to `False`): Whether only its owner may see it.
        revision (`str`, *optional*): A branch, made from `main` when absent; by default `main`.
        message (`str`, *optional*, defaults to `"Upload DRL model"`): Of the commit.
        token (`str`, *optional*): By default the one of `HF_TOKEN` or of `hf auth login`.

    Returns:
        `huggingface_hub.CommitInfo`: The commit; `oid` and `commit_url` name it.

    Raises:
        [`~hub.PublishError`]: When the folder is not whole or does not load, or the repository is public and
            should be private.
        `ConnectionError`: Offline, or when the connection fails. The repository is then as it was, or has the whole
            commit if only the answer was lost.
        `OSError`: What the Hub refuses, as huggingface_hub's `HfHubHTTPError`.

    Example:

    ```python
    >>> from drl_tvr.hub import push_checkpoint

    >>> push_checkpoint("outputs/moving-shapes", "me/drl-moving-shapes", private=True).oid  # doctest: +SKIP
    '4a0c5f7...'
    ```"""
    validate_repo_id(repo_id)
    if constants.HF_HUB_OFFLINE:
        raise ConnectionError(f"Nothing is published to {repo_id}: HF_HUB_OFFLINE is set, which forbids the network.")
    folder = Path(folder)
    files = files_to_publish(folder)
    check_loads(folder)
    contents_to_publish(files, repo_id)  # what can't be made is known before a repository is
    api = HfApi(library_name="drl_tvr", token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private or None, exist_ok=True).repo_id
        if private and not api.model_info(repo_id).private:
            raise PublishError(f"{repo_id} exists and is public. Change that on the Hub, or push without `private`.")
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        contents = contents_to_publish(files, repo_id)
        before = api.model_info(repo_id, revision=revision).sha
        there = api.list_repo_files(repo_id, revision=revision)
        stale = [name for name in there if matches(name, STALE) and name not in contents]
        additions = [CommitOperationAdd(name, content) for name, content in contents.items()]
        deletions = [CommitOperationDelete(name) for name in stale]
        # `upload_folder` may make several commits of one folder.
        commit = api.create_commit(repo_id, [*additions, *deletions], commit_message=message, revision=revision)
        if commit.oid == before:
            logger.info("Nothing has changed: %s stays at %s.", repo_id, before)
        return commit
    except OSError:  # what the Hub refuses says so itself
        raise
    except (HTTPError, RuntimeError) as error:
        reason = error.__cause__ or error
        raise ConnectionError(
            f"The connection to {api.endpoint} failed while {folder} was pushed to {repo_id}, which is as it was "
            f"before, or has the whole commit if only the answer was lost: {type(reason).__name__}: {reason}"
        ) from error


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def files_to_publish(folder: Path) -> list[Path]:
    """The files of a checkpoint folder that belong in a repository; the rest is logged.

    Raises:
        [`~hub.PublishError`]: When the folder is no whole checkpoint.
    """
    if not folder.is_dir():
        raise PublishError(f"{folder} is no folder.")
    for name, needed in (
        ("config.json", "the model's configuration"),
        ("README.md", "the model card; DRLTrainer writes one, so does drl_tvr.hub.write_model_card"),
        ("processor_config.json", "the processor; `DRLProcessor.save_pretrained` writes it"),
    ):
        if not (folder / name).is_file():
            raise PublishError(f"{folder} has no {name}: {needed}.")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        raise PublishError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json.")
    config = read_json(folder / "config.json")
    if config.get("model_type") != "drl":
        raise PublishError(f"{folder / 'config.json'}: `model_type` is {config.get('model_type')!r}, expected 'drl'.")
    try:
        metadata = ModelCard.load(folder / "README.md").data.to_dict()
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise PublishError(f"{folder / 'README.md'}: the metadata is not readable: {error}") from error
    if not metadata:
        raise PublishError(f"{folder / 'README.md'} does not begin with metadata between two lines of `---`.")
    names = [*weight_files(folder), *(p.name for p in folder.iterdir() if p.is_file() and matches(p.name, PUBLISHED))]
    for name in names:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise PublishError(f"{folder / name} is a link to {(folder / name).resolve()}, outside of the folder.")
    left_out = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if path.name not in names)
    if left_out:
        logger.info("Not published: %s", ", ".join(left_out))
    return [folder / name for name in sorted(names)]


def weight_files(folder: Path) -> list[str]:
    """Names of the weights: one file, or an index and its shards.

    Raises:
        [`~hub.PublishError`]: When there are none, or one is missing.
    """
    single, index = (folder / WEIGHTS).is_file(), (folder / INDEX).is_file()
    if single and index:
        raise PublishError(f"{folder} has both {WEIGHTS} and {INDEX}; remove those that are not the model's.")
    if single:
        return [WEIGHTS]
    if not index:
        raise PublishError(f"{folder} has no weights: neither {WEIGHTS} nor {INDEX}. Pickles are not published.")
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise PublishError(f"{folder / INDEX} has no `weight_map`.")
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or not matches(shard, ("*.safetensors",)):
            raise PublishError(f"{folder / INDEX} names {shard!r}, expected a .safetensors file of the folder.")
        if not (folder / shard).is_file():
            raise PublishError(f"{folder} has no {shard}, which {INDEX} names.")
    return [INDEX, *shards]


def check_loads(folder: Path) -> None:
    """Load the model and the processor from the folder alone.

    Raises:
        [`~hub.PublishError`]: When one does not load, or the weights are not those of the configuration.
    """
    try:
        model = load_trained(folder, local_files_only=True)
        processor = DRLProcessor.from_pretrained(folder, local_files_only=True)
    except (ValueError, OSError) as error:
        raise PublishError(f"{folder} does not load: {error}") from error
    vocab_size = model.config.text_config.vocab_size
    if len(processor.tokenizer) > vocab_size:
        raise PublishError(
            f"{folder}: the tokenizer has {len(processor.tokenizer)} entries, the text tower {vocab_size}."
        )


def contents_to_publish(files: list[Path], repo_id: str) -> dict[str, Path | bytes]:
    """What goes up under each name: the files, and for three of them a version that knows the repository.

    Raises:
        [`~hub.PublishError`]: When the processor's file lacks the video processor.
    """
    contents: dict[str, Path | bytes] = {path.name: path for path in code_files()}
    for path in files:
        contents[path.name] = path
        if path.name == "config.json":
            auto_map = {"AutoConfig": "configuration_drl.DRLConfig", "AutoModel": "modeling_drl.DRLModel"}
            contents[path.name] = to_json({**read_json(path), "auto_map": auto_map})
        elif path.name == "processor_config.json":
            processor = {"AutoProcessor": "processing_drl.DRLProcessor"}
            video_processor = {"AutoVideoProcessor": "video_processing_drl.DRLVideoProcessor"}
            config = {**read_json(path), "auto_map": processor}
            if not isinstance(config.get("video_processor"), dict):
                raise PublishError(
                    f"{path} has no `video_processor`: it must hold the video processor's settings, as "
                    "`DRLProcessor.save_pretrained` writes them."
                )
            config["video_processor"] = {**config["video_processor"], "auto_map": {**processor, **video_processor}}
            contents[path.name] = to_json(config)
        elif path.name == "README.md":
            text = path.read_text(encoding="utf-8")
            contents[path.name] = CARD_NAME.sub(lambda _: f'name = "{repo_id}"', text, count=1).encode()
    return contents


def code_files() -> list[Path]:
    """The files that `trust_remote_code=True` needs, found as transformers finds them."""
    entries = [module.__file__ for module in (modeling_drl, processing_drl, video_processing_drl)]
    return sorted({Path(path) for entry in entries for path in (entry, *get_relative_import_files(entry))})


def read_json(path: Path) -> dict:
    """A JSON file's mapping.

    Raises:
        [`~hub.PublishError`]: When it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PublishError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise PublishError(f"{path} must hold a mapping, found a {type(content).__name__}.")
    return content


def to_json(content: dict) -> bytes:
    """As transformers writes a configuration."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


__all__ = ["PublishError", "push_checkpoint"]
