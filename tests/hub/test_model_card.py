"""The model card: metadata that the Hub takes, figures that were given or are missing, and code that runs."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from hub_server import serve_hub
from huggingface_hub import HfApi, ModelCard
from transformers import TrainerState

from drl_tvr import DRLConfig, DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.evaluation import EvaluationResult
from drl_tvr.hub import make_model_card, measure_cost, write_model_card


REPOSITORY = Path(__file__).parents[2]
METRICS = {
    f"{direction}_{name}": value
    for direction, start in (("t2v", 40.0), ("v2t", 41.0))
    for name, value in (("R@1", start), ("R@5", start + 20), ("R@10", start + 30), ("MdR", 2.0), ("MnR", 9.25))
}
PROVENANCE = {
    "benchmark": "msrvtt-9k",
    "split": "test",
    "protocol": "MSR-VTT 1k-A",
    "num_videos": 998,
    "expected_videos": 1000,
    "num_captions": 998,
}
SAMPLING = {"fps": 1, "max_frames": 12, "max_words": 32}
TRAINED = TrainerState(global_step=10)


def make_facts(metrics=METRICS, intervals=None, provenance=None, chosen_on="validation") -> EvaluationResult:
    """Makes a result with these facts, as far as a card shows them."""
    model = {**SAMPLING, "chosen_on": chosen_on}
    return EvaluationResult({**PROVENANCE, **(provenance or {})}, model, metrics, intervals or {}, {}, [])


@pytest.fixture
def make_card(tmp_path):
    """Makes a card of a run, with other facts where given."""

    def make(config: DRLConfig | None = None, result: dict | None = None, **facts) -> ModelCard:
        args = DRLTrainingArguments(str(tmp_path), report_to="none", use_cpu=True, seed=7)
        facts = {"state": TRAINED, "finetuned_from": "openai/clip-vit-base-patch32", **facts}
        return make_model_card("me/drl-b32", config or DRLConfig(), args, make_facts(**(result or {})), **facts)

    return make


def row(card: ModelCard, title: str) -> str:
    """Returns what the table says in a row."""
    (found,) = re.findall(rf"^\| {re.escape(title)} \| (.*) \|$", card.text, re.MULTILINE)
    return found


def test_the_metadata_is_what_the_hub_shows(make_card, monkeypatch, tmp_path):
    card = make_card(tags=["mine", "drl"])
    data = card.data.to_dict()
    assert data["library_name"] == "transformers"
    assert "pipeline_tag" not in data  # the Hub would show a call of a pipeline that cannot take a text and a video
    assert data["base_model"] == "openai/clip-vit-base-patch32"
    assert "datasets" not in data  # a benchmark's name is no name on the Hub; it is in the results below
    assert data["tags"] == ["text-video-retrieval", "video-retrieval", "drl", "mine"] and "license" not in data
    card.save(tmp_path / "README.md")
    results = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert {result.metric_type: result.metric_value for result in results} == METRICS
    assert {(r.task_type, r.dataset_type, r.dataset_split) for r in results} == {
        ("text-video-retrieval", "msrvtt-9k", "test")
    }
    # The Hub's own check, by the call that every push makes.
    with serve_hub(me="hf_me") as hub:
        HfApi(endpoint=hub.endpoint, token="hf_me")._validate_yaml(card.content)
        with pytest.raises(ValueError, match="Invalid metadata"):
            HfApi(endpoint=hub.endpoint, token="hf_me")._validate_yaml("---\nmodel-index:\n- name: 5\n---\n")


def test_results_stand_with_their_intervals_counts_and_protocol(make_card):
    card = make_card(result={"intervals": {"t2v_R@1": (37.04, 42.96), "t2v_MnR": (8.0, 10.5)}})
    assert row(card, "text to video") == "40.0 (37.0 to 43.0) | 60.0 | 70.0 | 2.0 | 9.2 (8.0 to 10.5)"
    assert row(card, "video to text") == "41.0 | 61.0 | 71.0 | 2.0 | 9.2"
    text = " ".join(card.text.split())
    assert "998 captions, 998 videos of 1000: **not comparable with results on all of them**." in text
    assert "Protocol: MSR-VTT 1k-A." in text and "No score normalisation" in text and "95 % intervals" in text
    assert "best t2v_R@1 on the validation split" in text and row(card, "seed") == "7"
    whole = {"num_videos": 1000, "num_captions": 1000}
    assert "1000 videos, all of them found." in make_card(result={"provenance": whole}).text
    assert "should be is not known" in make_card(result={"provenance": {"expected_videos": None}}).text
    assert "**on the test split itself**" in make_card(result={"chosen_on": "test"}).text
    assert "The checkpoint is the last one." in make_card(result={"chosen_on": None}).text
    kept = make_card(state=TrainerState(global_step=10, best_global_step=4))
    assert row(kept, "steps") == "10, kept: step 4" and row(card, "steps") == "10"


def test_what_was_not_given_is_missing_and_said_to_be(make_card):
    card = make_card(result={"metrics": {}})
    assert "The model was not evaluated after training." in card.text and "eval_results" not in card.content
    assert "model-index" not in card.content and "Not measured." in card.text
    assert row(card, "duration") == "not recorded"
    assert "Intervals were not computed." in make_card().text
    assert "not certainty" not in make_card(result={"intervals": {"t2v_R@1": (37.04, 42.96)}}).text
    assert "not certainty" in make_card(result={"intervals": {"t2v_R@1": (100.0, 100.0)}}).text
    with pytest.raises(ValueError, match="found no v2t_MnR, expected all of t2v_R@1"):
        make_card(result={"metrics": {name: value for name, value in METRICS.items() if name != "v2t_MnR"}})
    with pytest.raises(ValueError, match="`state`: found nothing, expected the state of the training"):
        make_card(state=None)
    assert "**Not trained.**" in make_card(state=None, result={"metrics": {}}).text


@pytest.mark.parametrize(
    ("fields", "title", "said"),
    [
        ({}, "channel decorrelation", "`weighted`, lambda 0.001, alpha 0.11 on and 0.0 off the diagonal"),
        ({"cdcr": "none"}, "channel decorrelation", "none"),
        ({"interaction": "xti"}, "channel decorrelation", "none"),
        ({"token_weight_depth": 3}, "interaction", "`wti`, token weights of 3 layers"),
        ({"interaction": "ti"}, "interaction", "`ti`"),
        ({"padding_similarity": "zero"}, "padding", "`zero`"),
    ],
)
def test_the_settings_of_the_method_are_those_of_the_model(fields, title, said, make_card):
    assert row(make_card(DRLConfig(**fields)), title) == said


def test_a_folder_on_this_machine_is_no_base_model(make_card, tmp_path):
    (tmp_path / "clip").mkdir()
    card = make_card(finetuned_from=str(tmp_path / "clip"))
    assert "base_model" not in card.data.to_dict() and row(card, "towers") == "from `clip`"
    assert str(tmp_path / "clip") not in card.content


def test_a_licence_is_known_only_where_all_is_of_the_package(make_card):
    bundled = {"provenance": {"benchmark": "moving-shapes"}}
    assert make_card(result=bundled, finetuned_from=None).data.license == "apache-2.0"
    assert make_card(result=bundled).data.license is None
    assert make_card(license="mit").data.license == "mit"


@pytest.mark.parametrize("interaction", ["wti", "xti"])
def test_the_cost_is_that_of_the_model_as_it_is(interaction, make_tiny_model, tiny_processor, make_card):
    model = make_tiny_model(interaction=interaction).train()
    cost = measure_cost(model, tiny_processor)
    assert model.training  # as it was
    assert cost.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (cost.num_frames, cost.dtype) == (6, "float32")
    assert cost.bytes_per_video == 4 * (6 * 32 + 6)  # a token of 32 numbers and a weight, for each of 6 frames
    assert cost.ms_per_video > 0 and cost.ms_per_query > 0
    half = measure_cost(model.to(torch.bfloat16), tiny_processor)
    assert half.dtype == "bfloat16" and half.bytes_per_video < cost.bytes_per_video
    card = make_card(cost=cost)
    assert row(card, "parameters") == f"{cost.num_parameters:,}"
    assert row(card, "store an encoded video") == "792 bytes"


def test_the_code_of_a_card_runs(make_tiny_model, tiny_processor, make_video, monkeypatch, tmp_path):
    model = make_tiny_model()
    model.save_pretrained(tmp_path / "outputs" / "run")
    tiny_processor.save_pretrained(tmp_path / "outputs" / "run")
    monkeypatch.chdir(tmp_path)
    make_video("clip.mp4")
    args = DRLTrainingArguments("outputs/run", report_to="none", use_cpu=True)
    result = make_facts(metrics={})
    path = write_model_card(args.output_dir, args.output_dir, model.config, args, result, state=TRAINED)
    (code,) = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    names: dict = {}
    *statements, last = code.strip().splitlines()
    exec("\n".join(statements), names)
    assert eval(last.split("#")[0], names).shape == (1, 1)


def test_the_trainer_writes_the_card_and_only_results_of_the_model_that_it_kept(
    make_tiny_model, tiny_processor, small_root, tmp_path
):
    splits = {split: load_benchmark("moving-shapes", small_root, split) for split in ("train", "validation", "test")}
    args = DRLTrainingArguments(
        str(tmp_path / "run"),
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="no",
        load_best_model_at_end=False,
        per_device_train_batch_size=8,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        frame_cache_dir=str(tmp_path / "frames"),
    )
    trainer = DRLTrainer(make_tiny_model(), args, splits["train"], splits["validation"], tiny_processor)
    trainer.train()
    card = ModelCard.load(tmp_path / "run" / "README.md")
    # It was evaluated in training, after each step; none of these is said to be of the model in the end.
    assert "not evaluated after training" in card.text and "The checkpoint is the last one." in card.text
    assert row(card, "steps") == "2" and row(card, "duration").endswith(" s") and "CPU" in row(card, "hardware")
    metrics = trainer.evaluate(splits["test"], metric_key_prefix="test")
    trainer.create_model_card(tags="mine")
    card = ModelCard.load(tmp_path / "run" / "README.md")
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values == {name: metrics[f"test_{name}"] for name in METRICS}
    assert "10 captions, 10 videos, all of them found" in card.text and "mine" in card.data.tags
    assert "rendered shapes" in card.text and card.data.license == "apache-2.0"


@pytest.fixture(scope="module")
def render():
    spec = importlib.util.spec_from_file_location("render", REPOSITORY / "model_cards" / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_cards_of_the_recipes_are_up_to_date_and_hold_no_results(render):
    cards = render.rendered()
    recipes = {path.stem for path in (REPOSITORY / "examples" / "configs").glob("*.yaml")}
    assert {path.stem for path in cards} == recipes - {"moving_shapes"} and len(cards) >= 13
    for path, text in cards.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run model_cards/render.py"
        assert "**Not trained.**" in text and "model-index" not in text and "| text to video |" not in text
    assert {path.stem for path in (REPOSITORY / "model_cards").glob("*.md")} == {
        *(path.stem for path in cards),
        "moving-shapes",
    }


def test_nothing_of_the_template_or_of_python_shows(make_card):
    nothing = {"metrics": {}}
    for facts in ({}, {"result": nothing}, {"state": None, "result": nothing}, {"finetuned_from": None}):
        assert not re.search(r"0x[0-9a-f]{6,}|\{\{|\}\}|\{%|None\b(?! yet)", make_card(**facts).content)


def test_a_measurement_changes_neither_the_mode_nor_the_random_numbers(make_tiny_model, tiny_processor, monkeypatch):
    model = make_tiny_model().train()
    state = torch.get_rng_state()
    measure_cost(model, tiny_processor)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(model, "get_video_features", None)
    with pytest.raises(TypeError):
        measure_cost(model, tiny_processor)
    assert model.training
