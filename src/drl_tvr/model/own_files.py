"""Load a checkpoint from its own files: what they name in other repositories and folders is not followed."""

import json
import os
from pathlib import Path

from transformers import CLIPTokenizer, PreTrainedTokenizerBase, TokenizersBackend
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import (
    ADAPTER_CONFIG_NAME,
    CONFIG_NAME,
    PROCESSOR_NAME,
    cached_file,
    find_adapter_config_file,
    is_peft_available,
)


# Arguments of `from_pretrained` that say where the files are.
LOCATION = ("cache_dir", "force_download", "proxies", "token", "local_files_only", "revision", "subfolder")


def read_mapping(file: str | os.PathLike) -> dict:
    """Read a JSON file that holds a mapping.

    Raises:
        `ValueError`: When the file is not JSON, or holds something else.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: found a {type(content).__name__}, expected a mapping.")
    return content


def read_processor_config(name_or_path: str | os.PathLike, **location) -> tuple[str, dict]:
    """Read `processor_config.json`; transformers also loads the audio tokenizer that it names.

    Args:
        name_or_path (`str` or `os.PathLike`): Folder or Hub name.
        location: Arguments of `from_pretrained` named in `LOCATION`.

    Returns:
        `tuple(str, dict)`: The file and its content, which is empty when there is no such file.

    Raises:
        `ValueError`: When the file is not JSON, or does not hold a mapping.
    """
    file = cached_file(name_or_path, PROCESSOR_NAME, _raise_exceptions_for_missing_entries=False, **location)
    return (PROCESSOR_NAME, {}) if file is None else (file, read_mapping(file))


def load_tokenizer(name_or_path: str | os.PathLike, **kwargs) -> PreTrainedTokenizerBase:
    """Load a tokenizer: CLIP's, or one that its `tokenizer.json` defines.

    `AutoTokenizer` makes any class that `tokenizer_config.json` names, from any paths that it names.

    Args:
        name_or_path (`str` or `os.PathLike`): Folder or Hub name.
        kwargs: Arguments of `from_pretrained`.

    Returns:
        [`PreTrainedTokenizerBase`]: The tokenizer.

    Raises:
        `ValueError`: When its files are invalid or name other files.
        `OSError`: When there is no tokenizer.
    """
    # An argument prevails over a path in the file, and the tokenizer's own file over an argument that is None.
    paths = dict.fromkeys(("vocab", "merges", "vocab_file", "merges_file", "tokenizer_file", "gguf_file"))
    try:
        settings = get_tokenizer_config(name_or_path, **kwargs)
        for key in ("fast_tokenizer_files", "init_inputs"):  # which may be paths, and which no argument replaces
            if settings.get(key):
                raise ValueError(f"tokenizer_config.json: `{key}`: found {settings[key]!r}, expected none.")
        is_clip = str(settings.get("tokenizer_class")).removesuffix("Fast") == "CLIPTokenizer"
        tokenizer_class = CLIPTokenizer if is_clip else TokenizersBackend
        tokenizer = tokenizer_class.from_pretrained(name_or_path, **{**kwargs, **paths})
    except OSError:
        raise
    except Exception as error:  # the tokenizers library raises bare exceptions for invalid files
        raise ValueError(f"{name_or_path}: the tokenizer cannot be loaded: {error}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # transformers makes an empty one of nothing
        raise FileNotFoundError(
            f"{name_or_path}: found no tokenizer, expected tokenizer.json, or vocab.json and merges.txt."
        )
    return tokenizer


def check_weights_are_own(name_or_path: str | os.PathLike, **location) -> None:
    """Refuse a checkpoint whose weights lie in another folder or repository.

    With peft installed, transformers loads the base model that an `adapter_config.json` names in place of the
    checkpoint, with the user's token.

    Args:
        name_or_path (`str` or `os.PathLike`): Folder or Hub name.
        location: Arguments of `from_pretrained` named in `LOCATION`.

    Raises:
        `ValueError`: When an adapter names another base model, or an index names files outside the folder.
    """
    folder = Path(name_or_path, location.get("subfolder", ""))
    for index in sorted(folder.glob("*.index*.json")):
        shards = read_mapping(index).get("weight_map")
        shards = shards.values() if isinstance(shards, dict) else ()
        outside = [shard for shard in shards if not isinstance(shard, str) or Path(shard).name != shard]
        if outside:
            raise ValueError(f"{index}: `weight_map`: found {outside[0]!r}, expected a file of the folder.")
    # What transformers asks, without the subfolder.
    if not is_peft_available() or Path(name_or_path, CONFIG_NAME).is_file():
        return
    adapter = find_adapter_config_file(str(name_or_path), **location)
    base = None if adapter is None else read_mapping(adapter).get("base_model_name_or_path")
    if adapter is not None and base != str(name_or_path):
        raise ValueError(
            f"{name_or_path}: found an adapter ({ADAPTER_CONFIG_NAME}) of {base!r}, expected a model: load that "
            "one, and put the adapter on it by `PeftModel.from_pretrained(model, folder)`."
        )


__all__ = ["LOCATION", "check_weights_are_own", "load_tokenizer", "read_mapping", "read_processor_config"]
