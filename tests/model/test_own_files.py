"""A checkpoint is loaded from its own files: whatever they name elsewhere is neither opened nor asked for."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import PreTrainedTokenizerFast

from drl_tvr import DRLModel, DRLProcessor
from drl_tvr.evaluation import load_trained
from drl_tvr.model import own_files


OTHER_REPO = "mallory/tracker"


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_processor, make_tiny_model) -> Path:
    folder = tmp_path_factory.mktemp("own") / "saved"
    make_tiny_model().save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A folder to change, beside one with other weights and another tokenizer."""
    other = shutil.copytree(saved, tmp_path / "elsewhere")
    shutil.copy(other / "tokenizer.json", other / "tokenizer.1.0.0.json")
    vocab = json.loads((other / "tokenizer.json").read_text())["model"]
    (other / "vocab.json").write_text(json.dumps(vocab["vocab"]))
    (other / "merges.txt").write_text("#version: 0.2\n")
    return shutil.copytree(saved, tmp_path / "checkpoint")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The paths that are asked of a server in place of the Hub, which has nothing."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            paths.append(self.path)
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)
        yield paths
        server.shutdown()


def edit(folder: Path, name: str, change: dict | Callable[[dict], object]) -> None:
    """Change a JSON file of a folder, or make it."""
    content = json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
    if callable(change):
        change(content)
    else:
        content.update(change)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize("file", ["processor_config.json", "audio_tokenizer_config.json"])
@pytest.mark.parametrize("named", [OTHER_REPO, "../elsewhere"])
def test_an_audio_tokenizer_is_not_loaded(folder: Path, requests: list[str], monkeypatch, file: str, named: str):
    monkeypatch.chdir(folder)
    audio = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": named}
    edit(folder, file, audio if file.startswith("audio") else {"audio_tokenizer": audio})
    processor = DRLProcessor.from_pretrained(folder)
    assert not hasattr(processor, "audio_tokenizer")
    assert not requests


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_map": {"AutoTokenizer": [None, f"{OTHER_REPO}--code.Tokenizer"]}},
        {"auto_map": {"AutoTokenizer": [f"{OTHER_REPO}--code.Tokenizer", None]}, "tokenizer_class": "Unknown"},
        {"tokenizer_class": "RagTokenizer"},
        {"tokenizer_class": "BertTokenizer"},
        {"name_or_path": OTHER_REPO},
        {"special_tokens_map_file": "../elsewhere/tokenizer.json", "added_tokens_file": "../elsewhere/tokenizer.json"},
        {"tokenizer_file": "../elsewhere/tokenizer.json", "vocab": "../elsewhere/vocab.json"},
    ],
)
def test_a_tokenizer_is_its_own_files(folder: Path, requests: list[str], monkeypatch, tiny_processor, settings: dict):
    monkeypatch.chdir(folder)
    edit(folder, "tokenizer_config.json", settings)
    assert (
        DRLProcessor.from_pretrained(folder)(text="dogs run")["input_ids"]
        == tiny_processor(text="dogs run")["input_ids"]
    )
    assert not requests


@pytest.mark.parametrize("tokenizer_class", ["CLIPTokenizer", "TokenizersBackend"])
@pytest.mark.parametrize(
    "settings",
    [
        {"vocab": "../elsewhere/vocab.json", "merges": "../elsewhere/merges.txt"},
        {"vocab_file": "../elsewhere/vocab.json", "merges_file": "../elsewhere/merges.txt"},
        {"tokenizer_file": "../elsewhere/tokenizer.json"},
        {"gguf_file": "../elsewhere/tokenizer.gguf"},
        {"init_inputs": ["../elsewhere/vocab.json", "../elsewhere/merges.txt"]},
        {"fast_tokenizer_files": ["../elsewhere/tokenizer.1.0.0.json"]},
    ],
)
def test_a_tokenizer_of_other_files_is_refused(folder: Path, monkeypatch, tokenizer_class: str, settings: dict):
    monkeypatch.chdir(folder)
    (folder / "tokenizer.json").unlink()
    edit(folder, "tokenizer_config.json", {"tokenizer_class": tokenizer_class, **settings})
    with pytest.raises((ValueError, FileNotFoundError), match=f"{folder}: (the|found no) tokenizer"):
        DRLProcessor.from_pretrained(folder)


def test_a_tokenizer_of_another_class_comes_back(folder: Path, saved: Path):
    """By its `tokenizer.json`, whatever class it has."""
    fast = PreTrainedTokenizerFast(tokenizer_file=str(saved / "tokenizer.json"), pad_token="<|endoftext|>")
    processor = DRLProcessor(DRLProcessor.from_pretrained(saved).video_processor, fast)
    processor.save_pretrained(folder)
    assert (
        DRLProcessor.from_pretrained(folder)(text="dogs run")["input_ids"] == processor(text="dogs run")["input_ids"]
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer_config.json", "["),
        ("processor_config.json", "[" * 100000),
        ("processor_config.json", "[]"),
    ],
)
def test_a_cut_file_is_a_value_error_that_names_it(folder: Path, file: str, content: str):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=f"{folder}"):
        DRLProcessor.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"auto_map": {"AutoConfig": f"{OTHER_REPO}--code.Config", "AutoModel": f"{OTHER_REPO}--code.Model"}},
        {"_name_or_path": OTHER_REPO, "name_or_path": OTHER_REPO},
        {"attn_implementation": f"{OTHER_REPO}:kernel", "_attn_implementation": OTHER_REPO},
        {"_attn_implementation_internal": OTHER_REPO, "experts_implementation": OTHER_REPO},
        {"transformers_weights": "../elsewhere/model.safetensors"},
        lambda config: config["text_config"].update(attn_implementation=OTHER_REPO, _attn_implementation=OTHER_REPO),
    ],
)
def test_a_configuration_names_no_other_code_or_weights(folder: Path, requests: list[str], saved: Path, change):
    edit(folder, "config.json", change)
    for model in (DRLModel.from_pretrained(folder), load_trained(folder)):
        weights = model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in load_trained(saved).state_dict().items())
    assert not requests


@pytest.mark.parametrize("shard", ["../elsewhere/model.safetensors", "/model.safetensors", "sub/x.safetensors", 3])
def test_shards_lie_in_the_folder(folder: Path, shard):
    (folder / "model.safetensors").unlink()
    edit(folder, "model.safetensors.index.json", {"metadata": {}, "weight_map": {"logit_scale": shard}})
    with pytest.raises(ValueError, match=r"index.json: `weight_map`: found .*, expected a file of the folder"):
        DRLModel.from_pretrained(folder)


def test_the_base_of_an_adapter_is_not_loaded(folder: Path, requests: list[str], monkeypatch):
    """With peft, transformers loads the base in place of a folder without config.json."""
    monkeypatch.setattr(own_files, "is_peft_available", lambda: True)
    edit(folder, "adapter_config.json", {"base_model_name_or_path": OTHER_REPO, "peft_type": "LORA"})
    (folder / "config.json").unlink()
    for load in (DRLModel.from_pretrained, DRLModel.from_clip_pretrained, load_trained):
        with pytest.raises((ValueError, OSError), match=f"found an adapter .* of '{OTHER_REPO}'|config.json"):
            load(folder)
    assert not requests
