"""The parser of recipes: flags over a YAML file over defaults, and nothing that is unknown or of the wrong type."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub.errors import HTTPError

from drl_tvr import DRLConfig
from drl_tvr.training.recipe import parse_recipe
from drl_tvr.training.run import Run
from drl_tvr.training.script import run_script


CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
RECIPES = sorted(CONFIGS.glob("msrvtt9k_*.yaml"))
CLIP = "openai/clip-vit-base-patch32"


@pytest.fixture
def write(tmp_path):
    """Writes a recipe, by default one that any machine can read, and returns its path."""

    def make(content: str | None = None, **recipe) -> str:
        path = tmp_path / "recipe.yaml"
        base = {"output_dir": str(tmp_path / "out"), "use_cpu": True, "report_to": "none"}
        path.write_text(yaml.safe_dump({**base, **recipe}) if content is None else content)
        return str(path)

    return make


def test_the_default_recipe_is_read_when_no_other_start_is_named():
    recipe, options, args = parse_recipe([], CONFIGS / "moving_shapes.yaml")
    content = yaml.safe_load((CONFIGS / "moving_shapes.yaml").read_text())
    assert recipe.benchmark == "moving-shapes" and options.search == content["search"]
    assert (args.output_dir, args.max_steps) == (content["output_dir"], content["max_steps"])
    assert recipe.model == content["model"]


@pytest.mark.parametrize("joined", [True, False])
def test_flags_override_the_file(joined, write, tmp_path):
    model = {"interaction": "ti", "cdcr": "none", "text_config": {"hidden_size": 32, "num_hidden_layers": 1}}
    path = write(max_steps=7, learning_rate=0.5, search=["a b", "c"], model=model)
    given = [f"--config={path}"] if joined else ["--config", path]
    flags = {"--max_steps": "3", "--model.interaction": "dp", "--model.text_config.hidden_size": "64"}
    flags |= {"--model.vision_config.patch_size": "8", "--model.cdcr_lambda": "1e-2"}
    words = (
        [f"{flag}={value}" for flag, value in flags.items()] if joined else [x for item in flags.items() for x in item]
    )
    recipe, options, args = parse_recipe([*given, *words])
    assert (args.max_steps, args.learning_rate, options.search) == (3, 0.5, ["a b", "c"])
    assert recipe.model == {
        "interaction": "dp",
        "cdcr": "none",
        "cdcr_lambda": 0.01,
        "text_config": {"hidden_size": 64, "num_hidden_layers": 1},
        "vision_config": {"patch_size": 8},
    }
    assert args.output_dir == str(tmp_path / "out")


def test_a_field_of_the_configuration_needs_no_other_edit(write):
    """Every field of DRLConfig can be given in the file and as a flag, whatever it is called."""
    for name in ("initializer_range", "image_mean", "token_weight_depth"):
        assert name in DRLConfig.__annotations__
    path = write(model={"initializer_range": 0.5, "image_mean": [0.5, 0.5, 0.5]})
    recipe, _, _ = parse_recipe(
        ["--config", path, "--model.image_mean", "[0.0, 0.25, 1.0]", "--model.token_weight_depth", "3"]
    )
    assert recipe.model == {"initializer_range": 0.5, "image_mean": [0.0, 0.25, 1.0], "token_weight_depth": 3}
    assert DRLConfig(**recipe.model).token_weight_depth == 3


def test_scalars_are_read_as_they_look(write):
    """YAML 1.1, which PyYAML reads, makes a text of 1e-3 and a truth value of no."""
    path = write(
        "output_dir: out\nuse_cpu: true\neval_strategy: no\nsave_strategy: no\nload_best_model_at_end: no\n"
        "learning_rate: 1e-3\nrun_name: on\nmodel: {cdcr_lambda: 1e-3, cdcr: none, logit_scale_init_value: 3}\n"
    )
    recipe, _, args = parse_recipe(["--config", path])
    assert (args.eval_strategy, args.load_best_model_at_end, args.learning_rate, args.run_name) == (
        "no",
        False,
        1e-3,
        "on",
    )
    assert recipe.model == {"cdcr_lambda": 0.001, "cdcr": "none", "logit_scale_init_value": 3}


def test_values_that_are_not_given_are_the_defaults(write):
    recipe, options, args = parse_recipe(["--config", write(num_threads=None, search=[], model=None, run_name=None)])
    assert (options.num_threads, options.search, recipe.model, args.run_name) == (None, [], {}, None)


def test_settings_hold_all_that_decides_the_result(write):
    path = write(model={"interaction": "ti"})
    recipe, _, _ = parse_recipe(["--config", path])
    settings = recipe.settings()
    assert settings["benchmark"] == "moving-shapes" and settings["fps"] == 1.0
    assert set(settings["model"]) == set(DRLConfig.__annotations__)
    assert (settings["model"]["interaction"], settings["model"]["cdcr"]) == ("ti", "weighted")
    # A default that is spelt out is the same recipe.
    same, _, _ = parse_recipe(["--config", path, "--model.cdcr", "weighted"])
    assert json.dumps(same.settings()) == json.dumps(settings)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"lerning_rate": 1e-3}, "recipe.yaml: found unknown keys: lerning_rate"),
        ({"zebra": 1, "abacus": 2}, "unknown keys: abacus, zebra"),
        ({"interaction": "ti"}, "unknown keys: interaction"),
        ({"trim": True}, "unknown keys: trim"),
        ({"max_steps": "many"}, "recipe.yaml, key 'max_steps': .*invalid int value: 'many'"),
        ({"max_steps": 1.5}, "key 'max_steps': .*invalid int value: '1.5'"),
        ({"learning_rate": [1, 2]}, "key 'learning_rate': "),
        ({"bf16": "perhaps"}, "key 'bf16': "),
        ({"fps": {"a": 1}}, "key 'fps': .*invalid float value"),
        ({"eval_strategy": "sometimes"}, "sometimes"),
        ({"model": False}, "recipe.yaml, key 'model': found False, expected a mapping"),
        ({"model": []}, r"recipe.yaml, key 'model': found \[\], expected a mapping"),
        ({"model": ["wti"]}, r"recipe.yaml, key 'model': found \['wti'\], expected a mapping"),
        ({"model": {"interction": "ti"}}, "recipe.yaml, key 'model': .*`interction`"),
        ({"model": {"interaction": 5}}, "recipe.yaml, key 'model': .*interaction.* expected str"),
        ({"model": {"projection_dim": "wide"}}, "recipe.yaml, key 'model': .*projection_dim.* expected int"),
        ({"model": {"text_config": 5}}, "recipe.yaml, key 'model': `text_config`: found 5, expected a mapping"),
        ({"model": {"text_config": {"hiden_size": 64}}}, "'model': `text_config`: found unknown fields: hiden_size"),
        ({"model": {"vision_config": {"image_size": "big"}}}, "'model': .*image_size.* expected int"),
        ({"model": {"temporal_config": {"depth": 2}}}, "'model': `temporal_config`: found unknown fields: depth"),
        ({"model": {5: 6}}, "recipe.yaml, key 'model': "),
        ({"model": {"return_dict": False, "dtype": "float16"}}, "dtype, return_dict: found fields of transformers"),
    ],
)  # fmt: skip
def test_a_key_that_is_unknown_or_of_the_wrong_type_is_an_error_that_names_it(recipe, said, write):
    with pytest.raises(ValueError, match=f"(?s){said}"):
        parse_recipe(["--config", write(**recipe)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1, 2", "recipe.yaml: found invalid YAML"),
        ("a: b: c", "recipe.yaml: found invalid YAML"),
        ("seed: 1\nseed: 2\n", "found the key 'seed' twice, expected it once"),
        ("model: {interaction: ti, interaction: dp}\n", "found the key 'interaction' twice"),
        ("- a\n- b\n", "recipe.yaml: found a list, expected keys and values"),
        ("just words\n", "recipe.yaml: found a str, expected keys and values"),
    ],
)
def test_a_file_that_holds_no_keys_and_values_is_an_error(content, said, write):
    with pytest.raises(ValueError, match=said):
        parse_recipe(["--config", write(content)])


def test_a_file_that_is_not_text_is_an_error(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match="recipe.yaml: "):
        parse_recipe(["--config", str(tmp_path / "recipe.yaml")])


@pytest.mark.parametrize(
    "given", [["--config", "absent.yaml"], ["--config=absent.yaml"], ["--config="], ["--config", "/"]]
)
def test_a_missing_file_is_named(given):
    value = given[-1].removeprefix("--config").removeprefix("=")
    with pytest.raises(FileNotFoundError, match=f"--config: found no file '{value}'"):
        parse_recipe(given)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--config"], "--config: expected one argument"),
        (["--learning_rat", "1"], "--learning_rat"),
        (["--nonsense"], "--nonsense"),
        (["stray"], "stray"),
        (["--interaction", "ti"], "--interaction"),
        (["--clip", CLIP], "--clip"),
        (["--max_steps", "few"], "--max_steps.*: invalid int value: 'few'"),
        (["--max_steps"], "--max_steps.*: expected one argument"),
        (["--clip_learning_rate", "-1"], "`clip_learning_rate`.*-1"),
        (["--model.interaction"], "--model.interaction: found no value"),
        (["--model.interaction", "--use_cpu"], "--model.interaction: found no value"),
        (["--model.interction", "ti"], "--model.interction: .*`interction`"),
        (["--model.interaction.depth", "3"], "interaction.depth: `interaction`: found 'wti', expected a mapping"),
        (["--model.text_config", "{bad"], "--model.text_config: found invalid YAML"),
        (["--model.text_config.hiden_size", "64"], "text_config.hiden_size: `text_config`: found unknown fields"),
    ],
)  # fmt: skip
def test_a_flag_that_is_unknown_or_of_the_wrong_type_is_an_error(flags, said, write):
    path = write(model={"interaction": "wti"})
    with pytest.raises(ValueError, match=f"(?s){said}"):
        parse_recipe(["--config", path, *flags])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model.interaction", "foo"], "--model.interaction: `interaction`.* one of"),
        (["--model.cdcr", "foo"], "`cdcr`.* one of"),
        (["--model.token_weight_depth", "4"], "`token_weight_depth`.* one of"),
        (["--choose_on", "train"], "`choose_on`: found 'train', expected 'validation' or 'test'"),
        (["--model.padding_similarity", "one"], "`padding_similarity`.* one of"),
        (["--max_frames", "0"], "`max_frames`: found 0, expected at least 1"),
        (["--max_words", "2"], "`max_words`: found 2, expected at least 3"),
        (["--fps", "0"], "`fps`: found 0.0, expected a finite number above 0"),
        (["--fps", "nan"], "`fps`: found nan, expected a finite number above 0"),
        (["--fps", "inf"], "`fps`: found inf, expected a finite number above 0"),
        (["--num_threads", "-3"], "`num_threads`: found -3, expected at least 1"),
        (["--gradient_accumulation_steps", "0"], "`gradient_accumulation_steps`: found 0, expected at least 1"),
        (["--model.text_config.num_attention_heads", "0"], "`text_config.num_attention_heads`: found 0, expected at"),
        (["--model.vision_config.patch_size", "0"], "`vision_config.patch_size`: found 0, expected at least 1"),
        (["--model.vision_config.patch_size", "999"], "`vision_config.patch_size`: found 999, expected at most"),
        (["--model.interaction", "[" * 20_000], "--model.interaction: found invalid YAML"),
        (["--lr_scheduler_kwargs", '{"foo": 1}'], "`lr_scheduler_kwargs`: found {'foo': 1}, expected those of"),
        (["--lr_scheduler_type", "cosine_with_min_lr"], "`lr_scheduler_kwargs`: found {}, expected those of"),
        (["--report_to", "clearml"], "`report_to`: found 'clearml', expected an installed library"),
        (["--model.vision_config", "5"], "`vision_config`: found 5, expected a mapping"),
        (["--model.temporal_config", "{hidden_size: 7}"], "hidden_size"),
    ],
)
def test_what_can_be_checked_without_data_is_checked_at_once(flags, said, write):
    with pytest.raises(ValueError, match=said):
        parse_recipe(["--config", write(), *flags])


def test_a_clip_checkpoint_leaves_the_default_recipe_aside(tmp_path):
    flags = ["--clip_name_or_path", CLIP, "--output_dir", str(tmp_path), "--use_cpu"]
    default = CONFIGS / "moving_shapes.yaml"
    recipe, _, args = parse_recipe(flags, default)
    assert (args.learning_rate, args.clip_learning_rate, args.num_train_epochs, args.max_steps) == (1e-4, 1e-7, 5, -1)
    assert (recipe.clip_name_or_path, recipe.model) == (CLIP, {})
    with pytest.raises(ValueError, match="--output_dir: found nothing, expected the folder"):
        parse_recipe(["--clip_name_or_path", CLIP], default)
    with pytest.raises(ValueError, match="--model.projection_dim: `projection_dim`: found 8, expected none: the CLIP"):
        parse_recipe([*flags, "--model.projection_dim", "8"], default)
    # The width of the checkpoint is not known yet; all else of a new block is checked.
    recipe, _, _ = parse_recipe(
        [*flags, "--model.temporal_config", "{hidden_size: 32, num_attention_heads: 4}"], default
    )
    assert recipe.model["temporal_config"]["hidden_size"] == 32
    with pytest.raises(ValueError, match="num_attention_heads"):
        parse_recipe([*flags, "--model.temporal_config", "{hidden_size: 32, num_attention_heads: 5}"], default)


def test_help_names_the_flags(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_recipe(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert all(flag in said for flag in ("--benchmark", "--clip_name_or_path", "--config FILE.yaml", "--model.FIELD"))


def test_there_is_a_recipe_for_every_published_row():
    """The official README's nine rows on ViT-B/32, and the four commands on ViT-B/16 of its scripts."""
    recipes = [yaml.safe_load(path.read_text()) for path in RECIPES]
    rows = {
        (recipe["clip_name_or_path"][-2:], *(recipe["model"][x] for x in ("interaction", "temporal_encoder", "cdcr")))
        for recipe in recipes
    }
    plain = {(name, temporal, "none") for name in ("dp", "xti") for temporal in ("none", "transformer")}
    tokens = {("ti", "transformer", cdcr) for cdcr in ("none", "argmax")}
    tokens |= {("wti", "transformer", cdcr) for cdcr in ("none", "weighted")}
    b32 = plain | tokens | {("dp", "transformer", "random")}
    assert rows == {("32", *row) for row in b32} | {("16", *row) for row in tokens}
    assert len(RECIPES) == 13


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_the_official_command_and_says_what_to_expect(path):
    recipe, _, args = parse_recipe(["--config", str(path), "--bf16", "false", "--use_cpu"])
    model = DRLConfig(**recipe.model)
    assert (recipe.benchmark, recipe.fps, recipe.max_frames, recipe.max_words) == ("msrvtt-9k", 1, 12, 32)
    assert (recipe.choose_on, model.padding_similarity, args.official_optimizer) == ("test", "zero", True)
    assert (args.learning_rate, args.clip_learning_rate, args.weight_decay) == (1e-4, 1e-7, 0.2)
    assert (args.num_train_epochs, args.per_device_train_batch_size, args.warmup_steps, args.seed) == (5, 128, 0.1, 0)
    assert args.output_dir == f"outputs/{path.stem}"
    alphas = {"random": 0.14, "argmax": 0.16, "weighted": 0.11}
    if model.cdcr != "none":
        assert (model.cdcr_lambda, model.cdcr_alpha_diagonal) == (0.001, alphas[model.cdcr])
    header = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert any(line.startswith("# Expected") for line in header)
    assert f"ViT-B/{recipe.clip_name_or_path[-2:]}" in header[0]


@pytest.mark.parametrize("error", [ImportError("no library"), HTTPError("no route"), ValueError("a"), OSError("b")])
def test_errors_of_the_machine_and_of_the_hub_are_one_line(error, write, caplog):
    def fail(*run):
        raise error

    assert run_script(fail, ["--config", write()]) == 1
    assert [record.message for record in caplog.records] == [f"{type(error).__name__}: {error}"]
    assert not caplog.records[0].exc_info


def test_a_value_that_transformers_does_not_check_is_one_line(write, caplog):
    assert run_script(None, ["--config", write(), "--accelerator_config", '{"foo": 1}']) == 2
    assert "error: " in caplog.text and "foo" in caplog.text


def test_a_start_that_was_refused_leaves_the_folder_to_any_other_run(write, tmp_path, caplog):
    folder, names = tmp_path / "out", []

    def start(begun: str | None = None, is_refused: bool = True):
        """Makes a script that claims the folder, as the example does, and may fail before or after training began."""

        def script(recipe, options, args):
            Run.begin(args, recipe.settings())
            (folder / "tokenizer").mkdir(exist_ok=True)
            if begun is not None:
                (folder / begun).mkdir()
            names.append({path.name for path in folder.iterdir()})
            if is_refused:
                raise ValueError("`max_length`: found 100")

        return script

    assert run_script(start(), ["--config", write(), "--max_words", "100"]) == 1
    assert "recipe.json" in names[-1] and [path.name for path in folder.iterdir()] == [".run.lock"]
    assert run_script(start(is_refused=False), ["--config", write(), "--max_words", "30"]) == 0
    # What was there before stays, and so does what training wrote.
    assert run_script(start(), ["--config", write(), "--max_words", "30"]) == 1
    assert {path.name for path in folder.iterdir()} == names[-1] > {"tokenizer"}
    assert run_script(start(), ["--config", write(), "--max_words", "100"]) == 1
    assert "AnotherRunError: " in caplog.text and {path.name for path in folder.iterdir()} == names[-1]
    folder = tmp_path / "second"
    assert run_script(start("incomplete-checkpoint"), ["--config", write(output_dir=str(folder))]) == 1
    assert {path.name for path in folder.iterdir()} == names[-1] > {"incomplete-checkpoint"}


def test_a_named_clip_is_not_trained_in_its_place(tmp_path):
    (tmp_path / "r.yaml").write_text("clip_name_or_path: clip\ntrain_clip: true\noutput_dir: out\nuse_cpu: true\n")
    config = ["--config", str(tmp_path / "r.yaml")]
    assert parse_recipe(config)[0].train_clip
    named = parse_recipe([*config, "--clip_name_or_path", "openai/clip-vit-base-patch32"])[0]
    assert (named.clip_name_or_path, named.train_clip) == ("openai/clip-vit-base-patch32", False)
    both = parse_recipe([*config, "--clip_name_or_path", "mine", "--train_clip"])[0]
    assert (both.clip_name_or_path, both.train_clip) == ("mine", True)
