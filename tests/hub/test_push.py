"""Publishing, by the real huggingface_hub client over HTTP: what lands, who can load it, and what happens when not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from client import ask_client, run_client, use_hub
from hub_server import Hub, serve_hub
from huggingface_hub import HfApi
from transformers import TrainerState

import drl_tvr.model
from drl_tvr import DRLConfig, DRLModel, DRLProcessor, DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.evaluation import EvaluationResult
from drl_tvr.evaluation.fingerprints import describe_processor
from drl_tvr.hub import PublishError, push_checkpoint, write_model_card
from drl_tvr.training.publishing import publish_folder
from drl_tvr_cli import main


TEXTS = ["a dog runs", "the cat sleeps on a wall"]
# The folder `model` is what is published: its files import nothing of ours outside it, and nothing else is needed.
CODE = {path.name for path in Path(drl_tvr.model.__file__).parent.glob("*.py")} - {"__init__.py"}
MODEL = {"config.json", "model.safetensors"}
PROCESSOR = {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}

# Loads a repository by the auto classes and scores two texts with a video, or says why not.
SCORES = """
import json, sys, torch
from transformers import AutoModel, AutoProcessor, AutoVideoProcessor

def scores(name, **kwargs):
    try:
        model = AutoModel.from_pretrained(name, **kwargs)
        processor = AutoProcessor.from_pretrained(name, **kwargs)
    except (OSError, ValueError) as error:
        return f"{{type(error).__name__}}: {{error}}"
    inputs = processor(text={texts!r}, videos=[{video!r}], return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits_per_text.tolist()
"""


@pytest.fixture(scope="module")
def hub():
    with serve_hub(alice="hf_alice", bob="hf_bob") as hub:
        yield hub


@pytest.fixture
def client(monkeypatch, hub: Hub, tmp_path: Path):
    """This process as alice."""
    use_hub(monkeypatch, hub, tmp_path / "cache", "hf_alice")
    return HfApi()


@pytest.fixture
def video(make_video) -> str:
    return str(make_video("clip.mp4", num_frames=30))


def write_card(folder: Path, model: DRLModel, processor: DRLProcessor, **kwargs) -> None:
    provenance = {"benchmark": "mine", "split": "test", "protocol": "", "num_videos": 1, "expected_videos": None}
    args = DRLTrainingArguments(str(folder), report_to="none", use_cpu=True)
    result = EvaluationResult(provenance, describe_processor(processor), {}, {}, {}, [])
    state = TrainerState(global_step=2)
    write_model_card(folder, str(folder), model.config, args, result, state=state, **kwargs)


@pytest.fixture
def save(make_tiny_model, tiny_processor, tmp_path):
    """Saves a checkpoint as a run leaves it, with what does not belong into a repository."""

    def make(name: str = "run", seed: int = 0, **kwargs) -> Path:
        folder = tmp_path / name
        model = make_tiny_model()
        torch.manual_seed(seed)
        torch.nn.init.normal_(model.text_projection.weight)
        model.save_pretrained(folder, **kwargs)
        tiny_processor.save_pretrained(folder)
        write_card(folder, model, tiny_processor)
        (folder / "test_results.json").write_text('{"metrics": {"t2v_R@1": 50.0}}')
        (folder / "checkpoint-2").mkdir()
        (folder / "tokenizer").mkdir()
        (folder / "recipe.json").write_text(json.dumps({"data": {"root": str(tmp_path)}}))
        (folder / "training_args.json").write_text(json.dumps({"output_dir": str(folder)}))
        for junk in ("training_args.bin", "checkpoint-2/optimizer.pt", "best.pth", "notes.pkl", "trainer_state.json"):
            (folder / junk).write_bytes(b"\x80\x04.")
        (folder / "modeling_other.py").write_text("raise SystemExit")
        return folder

    return make


def score(folder: Path, video: str) -> list[list[float]]:
    model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    with torch.no_grad():
        return model(**processor(text=TEXTS, videos=[video], return_tensors="pt")).logits_per_text.tolist()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_published_loads_where_the_package_is_not_installed(client, hub, save, video, tmp_path, capsys):
    # One of each kind, then one process that loads them all: importing torch takes the time here.
    plain, sharded, other = save("plain"), save("sharded", seed=1, max_shard_size="100KB"), save("other", seed=2)
    assert main(["push", str(plain), "alice/plain"]) == 0
    assert "Published: http://127.0.0.1" in capsys.readouterr().out
    client.create_tag("alice/plain", tag="v1")
    assert main(["push", str(sharded), "alice/plain", "--message", "Now in shards"]) == 0
    assert main(["push", str(other), "alice/plain", "--revision", "experiment"]) == 0
    assert main(["push", str(other), "alice/secret", "--private"]) == 0
    DRLModel.from_pretrained(plain).push_to_hub("alice/parts")
    DRLProcessor.from_pretrained(plain).push_to_hub("alice/parts")

    code = SCORES.format(texts=TEXTS, video=video)
    code += """
    trusted = {"trust_remote_code": True}
    found = {
        "refused": scores("alice/plain"),
        "refused again": scores("alice/parts", trust_remote_code=False),
        "main": scores("alice/plain", **trusted),
        "v1": scores("alice/plain", revision="v1", **trusted),
        "experiment": scores("alice/plain", revision="experiment", **trusted),
        "parts": scores("alice/parts", **trusted),
        "secret": scores("alice/secret", **trusted),
        "secret with a token": scores("alice/secret", token="hf_alice", **trusted),
        "secret of another": scores("alice/secret", token="hf_bob", **trusted),
        "absent": scores("alice/plain", revision="v9", **trusted),
        "video processor": type(AutoVideoProcessor.from_pretrained("alice/plain", **trusted)).__name__,
    }
    print("\\n" + json.dumps(found))  # transformers asked for leave first, on the same line
    """.replace("\n    ", "\n")
    found = ask_client(code, hub, tmp_path / "home", package=False)
    # To the last digit but one: how a matrix product rounds depends on where its memory lies.
    folders = {"main": sharded, "v1": plain, "parts": plain, "experiment": other, "secret with a token": other}
    for name, folder in folders.items():
        assert found[name] == [pytest.approx(row, rel=1e-6) for row in score(folder, video)]
    assert len({str(found[name]) for name in ("main", "v1", "experiment")}) == 3  # or the revisions prove nothing
    for name in ("refused", "refused again"):
        assert "trust_remote_code=True" in found[name] and "custom code" in found[name]
    for name in ("secret", "secret of another"):
        # To a stranger it does not exist; the message names the token.
        assert "alice/secret" in found[name] and "token" in found[name]
    assert "v9" in found["absent"] and found["video processor"] == "DRLVideoProcessor"

    # Where the package is, it is the code: no file of the repository is imported, and none is fetched.
    code = "import drl_tvr" + SCORES.format(texts=TEXTS, video=video)
    code += 'print(json.dumps([scores("alice/plain"), sorted(x for x in sys.modules if "transformers_modules" in x)]))'
    assert ask_client(code, hub, tmp_path / "home2", package=True) == [
        [pytest.approx(row, rel=1e-6) for row in score(sharded, video)],
        [],
    ]
    assert not list((tmp_path / "home2").rglob("*_drl.py")) and list((tmp_path / "home").rglob("*_drl.py"))


def test_exactly_what_belongs_there_is_published_and_the_folder_stays_as_it_is(client, hub, save, caplog):
    folder = save()
    before = contents(folder)
    with caplog.at_level("INFO", logger="drl_tvr"):
        push_checkpoint(folder, "alice/exact")
    files = hub.repos["alice/exact"].files()
    rest = {".gitattributes", "README.md", "test_results.json"}
    assert set(files) == CODE | MODEL | PROCESSOR | rest
    assert contents(folder) == before
    left_out = "best.pth, checkpoint-2/, modeling_other.py, notes.pkl, recipe.json, tokenizer/, trainer_state.json, "
    left_out += "training_args.bin, training_args.json"
    assert f"Not published: {left_out}" in caplog.text
    # The card says where it is; all else is byte for byte the folder's, but for the maps to the code.
    assert b'name = "alice/exact"' in files["README.md"] and str(folder).encode() not in files["README.md"]
    assert all(
        files[name] == before[name]
        for name in set(files) & set(before) - {"README.md"}
        if name in MODEL - {"config.json"}
    )
    published = json.loads(files["config.json"])
    assert published.pop("auto_map") == {
        "AutoConfig": "configuration_drl.DRLConfig",
        "AutoModel": "modeling_drl.DRLModel",
    }
    assert published == json.loads(before["config.json"])


def test_a_new_card_uploads_no_weights_and_nothing_new_makes_no_commit(client, hub, save, caplog):
    caplog.set_level("INFO", logger="drl_tvr")
    folder = save()
    first = push_checkpoint(folder, "alice/card")
    assert hub.uploaded() != []
    seen = len(hub.log)
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nOne more remark.\n")
    second = push_checkpoint(folder, "alice/card")
    assert hub.uploaded(seen) == [] and second.oid != first.oid
    commits = [size for _, path, size in hub.log[seen:] if "/commit/" in path]
    assert len(commits) == 1 and commits[0] < 2 * len(card.read_bytes())
    repo = hub.repos["alice/card"]
    old, new = repo.commits[first.oid], repo.commits[second.oid]
    assert {name for name in new if new[name] != old.get(name)} == {"README.md"}
    assert "Nothing has changed" not in caplog.text
    assert push_checkpoint(folder, "alice/card").oid == second.oid
    assert f"Nothing has changed: alice/card stays at {second.oid}." in caplog.text


def test_shards_replace_a_single_file_and_back(client, hub, save):
    whole, sharded = save("whole"), save("sharded", max_shard_size="100KB")
    push_checkpoint(whole, "alice/shards")
    client.upload_file(path_or_fileobj=b"mine", path_in_repo="figure.svg", repo_id="alice/shards")
    for folder in (sharded, whole):
        push_checkpoint(folder, "alice/shards")
        files = {name for name in hub.repos["alice/shards"].files() if "safetensors" in name}
        assert files == {path.name for path in folder.iterdir() if "safetensors" in path.name}
    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert "figure.svg" in hub.repos["alice/shards"].files()  # what others put there stays


def test_a_token_is_needed_and_a_wrong_one_refused(client, hub, save, monkeypatch, capsys):
    folder = save()
    for token, repo, said in (
        ("hf_wrong", "alice/locked", "Invalid credentials"),
        (None, "alice/locked", "401"),
        ("hf_bob", "alice/locked", "You don't have the rights"),
    ):
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
        assert main(["push", str(folder), repo]) == 1
        error = capsys.readouterr().err
        assert "drl-tvr: error: " in error and said in error and "Traceback" not in error
        assert "alice/locked" not in hub.repos


def test_a_public_repository_does_not_pass_for_a_private_one(client, hub, save):
    folder = save()
    client.create_repo("alice/public")
    before = dict(hub.repos["alice/public"].branches)
    with pytest.raises(PublishError, match="alice/public: found a public repository, expected a private"):
        push_checkpoint(folder, "alice/public", private=True)
    assert hub.repos["alice/public"].branches == before


def test_a_connection_that_drops_leaves_the_repository_as_it_was(client, hub, save):
    folder = save()
    push_checkpoint(folder, "alice/drop")
    repo = hub.repos["alice/drop"]
    before, commits = dict(repo.branches), len(repo.commits)
    new = save("new", seed=1)
    hub.drop = "commit"
    with pytest.raises(ConnectionError, match="alice/drop. The repository is unchanged, or "):
        push_checkpoint(new, "alice/drop")
    assert hub.drop is None  # it did drop
    assert (repo.branches, len(repo.commits)) == (before, commits)
    assert repo.files()["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    push_checkpoint(new, "alice/drop")
    assert repo.files()["model.safetensors"] == (new / "model.safetensors").read_bytes()


def test_an_upload_that_drops_is_tried_again(client, hub, save):
    hub.drop = "lfs"
    push_checkpoint(save(seed=5), "alice/again")
    assert hub.drop is None and "model.safetensors" in hub.repos["alice/again"].files()


def test_offline_is_an_error_that_says_so(hub, save, tmp_path):
    folder = save()
    code = f"""
import json
from drl_tvr_cli import main
from drl_tvr import DRLModel
status = main(["push", {str(folder)!r}, "alice/offline"])
try:
    DRLModel.from_pretrained("alice/offline")
except OSError as error:
    print(json.dumps([status, str(error)]))
"""
    seen = len(hub.log)
    done = run_client(code, hub, tmp_path / "home", package=True, token="hf_alice", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    status, loading = json.loads(done.stdout.splitlines()[-1])
    assert (
        status == 1 and "drl-tvr: error: Nothing is published to alice/offline: `HF_HUB_OFFLINE` is set" in done.stderr
    )
    assert "offline" in loading.lower() or "connect" in loading
    assert len(hub.log) == seen


def change_json(folder: Path, name: str, **changes) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **changes}))


def shuffle_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["stranger"] = weights.pop("text_projection.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def link_out(folder: Path) -> None:
    (folder.parent / "secret.json").write_text("{}")
    (folder / "val_results.json").symlink_to(folder.parent / "secret.json")


def split_processor(folder: Path) -> None:
    config = json.loads((folder / "processor_config.json").read_text())
    (folder / "video_preprocessor_config.json").write_text(json.dumps(config.pop("video_processor")))
    (folder / "processor_config.json").write_text(json.dumps(config))


def name_shard(folder: Path, shard: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "is not a folder"),
        (lambda folder: (folder / "README.md").unlink(), "found no README.md, expected the model card"),
        (
            lambda folder: (folder / "README.md").write_text("no metadata"),
            "README.md: found no metadata, expected it at the beginning",
        ),
        (
            lambda folder: (folder / "README.md").write_text("---\na: [\n---\n"),
            "README.md: the metadata cannot be read",
        ),
        (lambda folder: (folder / "config.json").unlink(), "found no config.json, expected the model"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (
            lambda folder: change_json(folder, "config.json", model_type="clip"),
            "`model_type`: found 'clip', expected 'drl'",
        ),
        (lambda folder: change_json(folder, "config.json", projection_dim=48), "run cannot be loaded: "),
        (lambda folder: change_json(folder, "config.json", token_weight_depth=3), "found weights that are missing"),
        (shuffle_weights, r"missing \(1, e.g. text_projection.weight\)"),
        (lambda folder: (folder / "processor_config.json").unlink(), "found no processor_config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "found no tokenizer, expected"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "Pickles are not publ"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "run cannot be loaded: "),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
            "found both model.safetensors and",
        ),
        (lambda folder: name_shard(folder, "gone.safetensors"), "found no gone.safetensors, expected"),
        (lambda folder: name_shard(folder, "../run2/x.safetensors"), "found '../run2/x.safetensors', expected"),
        (split_processor, "processor_config.json: `video_processor`: found NoneType"),
        (link_out, "val_results.json: found a link to .*secret.json, expected"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_before_anything_is_sent(spoil, said, client, hub, save):
    folder, seen = save(), len(hub.log)
    spoil(folder)
    with pytest.raises(PublishError, match=said):
        push_checkpoint(folder, "alice/broken")
    assert len(hub.log) == seen


@pytest.mark.parametrize("repo_id", ["a/b/c", "spaced name", ""])
def test_an_impossible_name_is_refused(repo_id, client, save, tmp_path):
    with pytest.raises(ValueError, match="[Rr]epo id"):
        push_checkpoint(tmp_path, repo_id)


def test_a_saved_folder_holds_no_code_and_a_pushed_object_is_as_before(client, hub, save, tmp_path):
    folder = save()
    model, processor = DRLModel.from_pretrained(folder), DRLProcessor.from_pretrained(folder)
    model.push_to_hub("alice/again-saved")
    processor.save_pretrained(str(tmp_path / "pushed"), push_to_hub=True, repo_id="alice/again-saved")
    files = hub.repos["alice/again-saved"].files()
    assert set(files) - {".gitattributes", "README.md"} == CODE | MODEL | PROCESSOR
    assert b"_auto_class" not in files["processor_config.json"]
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == MODEL | PROCESSOR
    assert all("auto_map" not in path.read_text(errors="replace") for path in (tmp_path / "saved").glob("*.json"))
    assert DRLConfig._auto_class is DRLModel._auto_class is DRLProcessor._auto_class is None


@pytest.fixture
def make_trainer(client, make_tiny_model, tiny_processor, small_root, tmp_path):
    """A trainer of two steps that publishes to a repository of alice's, and the test split."""

    def make(repo_id: str, **kwargs):
        splits = {
            split: load_benchmark("moving-shapes", small_root, split) for split in ("train", "validation", "test")
        }
        args = DRLTrainingArguments(
            str(tmp_path / "run"),
            push_to_hub=True,
            hub_model_id=repo_id,
            hub_token="hf_alice",
            max_steps=2,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            per_device_train_batch_size=8,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            frame_cache_dir=str(tmp_path / "frames"),
            **kwargs,
        )
        trainer = DRLTrainer(make_tiny_model(), args, splits["train"], splits["validation"], tiny_processor)
        return trainer, splits["test"]

    return make


def test_the_trainer_publishes_its_model_with_its_card_and_results(hub, make_trainer, tmp_path):
    trainer, test = make_trainer("alice/trained", hub_private_repo=True)
    trainer.train()
    metrics = trainer.evaluate(test, metric_key_prefix="test")
    trainer.save_model(_internal_call=True)
    folder = Path(trainer.args.output_dir)
    trainer.last_result.model["name"] = folder.name
    trainer.last_result.save(folder / "test_results.json")
    trainer.push_to_hub()
    repo = hub.repos["alice/trained"]
    assert repo.private and len(repo.commits) == 2  # the first is the Hub's own
    files = repo.files()
    assert set(files) == CODE | MODEL | PROCESSOR | {".gitattributes", "README.md", "test_results.json"}
    card = files["README.md"].decode()
    assert 'name = "alice/trained"' in card and "Test split of moving-shapes: 10 captions, 10 videos, all of" in card
    assert f"| text to video | {metrics['test_t2v_R@1']:.1f}" in card
    assert (
        "best t2v_R@1 on the validation split" in card
        and f"| steps | 2, kept: step {trainer.state.best_global_step} |" in card
    )
    published = json.loads(files["test_results.json"])["metrics"]
    assert np.isclose(published["t2v_R@1"], metrics["test_t2v_R@1"])
    # Neither the token nor a place on this machine: in what is published, in any commit, nor, the token, on disk.
    for commit in repo.commits:
        for name, content in repo.files(commit).items():
            assert str(tmp_path).encode() not in content and b"hf_alice" not in content, name
    pickles = list(folder.rglob("training_args.bin"))
    assert len(pickles) >= 2 and trainer.args.hub_token == "hf_alice"
    assert all(b"hf_alice" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_folder_of_a_finished_run_is_published_to_where_its_arguments_say(hub, client, save):
    folder = save("finished")
    where = {"hub_model_id": "alice/finished", "hub_private_repo": True, "hub_revision": "tried"}
    args = DRLTrainingArguments(str(folder), hub_token="hf_alice", use_cpu=True, report_to="none", **where)
    commit = publish_folder(args, commit_message="By its folder")
    repo = hub.repos["alice/finished"]
    assert repo.private and commit.oid == repo.branches["tried"] != repo.branches["main"]
    assert MODEL | PROCESSOR | {"README.md", "test_results.json"} <= set(repo.files(commit.oid))
    # By default the repository has the name of the folder.
    publish_folder(DRLTrainingArguments(str(folder), hub_token="hf_alice", use_cpu=True, report_to="none"))
    assert MODEL <= set(hub.repos["alice/finished"].files())


def test_a_finished_run_that_cannot_be_published_says_how_to_go_on(hub, client, save):
    folder = save("kept")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for settings, said in (
        ({"hub_model_id": "bob/kept", "hub_token": "hf_alice"}, "HfHubHTTPError"),
        ({"hub_model_id": "alice/kept/x", "hub_token": "hf_alice"}, "HFValidationError"),
    ):
        args = DRLTrainingArguments(str(folder), use_cpu=True, report_to="none", **settings)
        with pytest.raises(
            PublishError, match=f"finished model, but is not published .{said}.*the same command again"
        ):
            publish_folder(args)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "all_checkpoints"])
def test_nothing_is_pushed_in_mid_training(strategy, make_trainer):
    with pytest.raises(ValueError, match=f"`hub_strategy`: found '{strategy}', expected 'end'"):
        make_trainer("alice/early", hub_strategy=strategy)


def test_a_strategy_that_is_set_later_is_refused_too(make_tiny_model, tiny_processor, tmp_path):
    args = DRLTrainingArguments(str(tmp_path / "run"), eval_strategy="no", load_best_model_at_end=False, use_cpu=True)
    args.set_push_to_hub("alice/late")  # `every_save` is transformers' default
    with pytest.raises(ValueError, match="`hub_strategy`: found 'every_save', expected 'end'"):
        DRLTrainer(make_tiny_model(), args, None, None, tiny_processor)


@pytest.mark.parametrize("kwargs", [{"hub_private_repo": True}, {}])
def test_a_run_that_should_be_private_is_not_pushed_to_a_public_repository(kwargs, client, hub, make_trainer):
    name = f"alice/open-{len(kwargs)}"
    client.create_repo(name)
    trainer, _ = make_trainer(name, **kwargs)
    before = dict(hub.repos[name].branches)
    trainer.hub_model_id = name
    with pytest.raises(PublishError, match=f"{name}: found a public repository"):
        trainer.push_to_hub(**({} if kwargs else {"private": True}))
    assert hub.repos[name].branches == before and not hub.repos[name].private
