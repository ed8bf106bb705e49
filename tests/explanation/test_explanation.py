"""The parts of a score: they add up to the model's own number, whatever the model, the text and the video."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from transformers import CLIPTokenizer

from drl_tvr import DRLProcessor, DRLVideoProcessor, VideoDecodeError
from drl_tvr.explanation import ExplanationError, explain_score, format_explanation, plot_explanation
from drl_tvr.explanation.plot import draw_figure, drawable
from drl_tvr_cli import main


LONG = "a dog and a cat " * 10
TEXTS = ("a", "a dog runs", "unfamiliar words, 3 of them", "dog 🐕 naïve $x^{ \\frac", LONG)


@pytest.fixture
def make_processor(clip_tokenizer_dir):
    """A processor for `make_tiny_model`; with `pads` as for a model whose padding counts."""

    def make(pads: bool = False, max_frames: int = 6) -> DRLProcessor:
        size = {"height": 32, "width": 32}
        video_processor = DRLVideoProcessor(
            fps=2, max_frames=max_frames, size={"shortest_edge": 32}, crop_size=size, pad_to_max_frames=pads
        )
        tokenizer = CLIPTokenizer.from_pretrained(clip_tokenizer_dir)
        return DRLProcessor(video_processor, tokenizer, pad_to_max_length=pads)

    return make


@pytest.fixture
def randomize():
    """Gives a model other weights, of a size at which words and frames differ."""

    def change(model, seed: int):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() > 0 and "norm" not in name:
                    parameter.normal_(std=0.3, generator=generator)
        return model.eval()

    return change


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("padding", ["ignore", "zero"])
@pytest.mark.parametrize("interaction", ["wti", "ti"])
def test_the_halves_add_up_to_the_score(
    interaction, padding, seed, make_tiny_model, make_processor, randomize, make_video
):
    fields = {"interaction": interaction, "padding_similarity": padding}
    model = randomize(make_tiny_model(**fields, temporal_encoder=["transformer", "lstm", "none"][seed]), seed)
    processor = make_processor(pads=padding == "zero")
    for num_frames, text in zip((4, 23, 60, 4, 60), TEXTS, strict=True):
        video = make_video(num_frames=num_frames)
        with torch.no_grad():
            outputs = model(**processor(text=[text], videos=[video], return_tensors="pt"))
        explanation = explain_score(model, processor, video, text)
        logit = outputs.logits_per_text.item()
        assert explanation.t2v + explanation.v2t == pytest.approx(explanation.similarity, abs=1e-6)
        assert explanation.logit == pytest.approx(logit, abs=1e-4)
        assert explanation.word_weights.sum() == pytest.approx(1) == explanation.frame_weights.sum()
        assert explanation.cosines.shape == (len(explanation.words), len(explanation.frames))


def test_each_maximum_is_the_largest_of_its_row_or_column(make_tiny_model, make_processor, randomize, make_video):
    model = randomize(make_tiny_model(), 0)
    explanation = explain_score(model, make_processor(), make_video(num_frames=30), "a dog runs")
    assert len(set(explanation.cosines.ravel())) == explanation.cosines.size  # so that a choice is one
    assert np.array_equal(explanation.word_maxima, explanation.cosines.max(axis=1))
    assert np.array_equal(explanation.frame_maxima, explanation.cosines.max(axis=0))
    assert explanation.notes() == []


def test_it_holds_in_mixed_precision(make_tiny_model, make_processor, randomize, make_video):
    model = randomize(make_tiny_model(), 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        explanation = explain_score(model, make_processor(), make_video(), "a dog runs")
    assert explanation.t2v + explanation.v2t == pytest.approx(explanation.similarity, abs=1e-6)


def test_padding_that_wins_is_said(make_tiny_model, make_processor, randomize, make_video):
    """Opposite tokens on both sides make every cosine negative: padding of 0 wins each maximum, if it counts."""
    video, text = make_video(num_frames=20), "a dog runs"
    for padding in ("zero", "ignore"):
        model = randomize(make_tiny_model(padding_similarity=padding, temporal_encoder="none", interaction="ti"), 0)
        with torch.no_grad():
            for layer, sign in ((model.text_projection, 1), (model.visual_projection, -1)):
                layer.weight[1:] = 0
                layer.weight[0] = layer.weight[0].abs()
                layer.register_forward_hook(lambda module, args, output, sign=sign: sign * output.abs())
        explanation = explain_score(model, make_processor(pads=True), video, text)
        assert (explanation.cosines < -0.99).all()
        if padding == "zero":
            assert (explanation.best_frame == -1).all() and (explanation.best_word == -1).all()
            assert explanation.t2v == explanation.v2t == explanation.similarity == 0
            assert (explanation.num_padded_words, explanation.num_padded_frames) == (32 - 5, 6 - 4)
            assert explanation.notes()[0].startswith("Padding won the maximum of 5 of 5 words")
            rows = [line.split() for line in format_explanation(explanation).splitlines()]
            assert sum("padding" in row[2:-1] for row in rows) == 5 + 4
        else:
            assert (explanation.best_frame >= 0).all() and explanation.num_padded_words == 0
            assert explanation.similarity == pytest.approx(-1) and explanation.notes() == []


def test_words_are_readable(make_tiny_model, make_processor, make_video):
    model, processor, video = make_tiny_model().eval(), make_processor(), make_video()
    assert explain_score(model, processor, video, "A dog\n RUNS").words == ["[start]", "A", "dog", "RUNS", "[end]"]
    words = explain_score(model, processor, video, "do é 🐕 \x1b").words
    byte_tokens = ["é (1/2)", "·é (2/2)", *(f"{'·' * (i > 1)}🐕 ({i}/4)" for i in range(1, 5))]
    assert [word for word in words if "é" in word or "🐕" in word] == byte_tokens and words[-2] == "U+001B"


def test_a_text_that_is_cut_is_said(make_tiny_model, make_processor, make_video):
    processor = make_processor()
    explanation = explain_score(make_tiny_model().eval(), processor, make_video(), LONG)
    ids = processor(text=[LONG])["input_ids"][0]
    assert len(explanation.words) == len(ids) == 32 and explanation.words[-1] == "[end]"
    seen = "".join(word.removeprefix("·") for word in explanation.words[1:-1])
    assert seen + explanation.unseen_text.replace(" ", "") == LONG.replace(" ", "")
    note = f"The text was cut after 32 tokens; not seen: {explanation.unseen_text}"
    assert explanation.notes() == [note] and note.strip() in " ".join(format_explanation(explanation).split())


def test_seconds_and_pictures_are_those_of_the_sampled_frames(make_tiny_model, make_processor, make_video):
    model, processor = make_tiny_model().eval(), make_processor()
    video = make_video(num_frames=40, fps=10)
    explanation = explain_score(model, processor, video, "a dog", start=1.0, end=2.9)
    assert explanation.frame_seconds == pytest.approx([1.0, 1.5, 2.0, 2.5])
    assert explanation.frames.shape == (4, 32, 32, 3) and explanation.frames.dtype == np.uint8
    greys = explanation.frames.reshape(4, -1).mean(axis=1)
    assert greys == pytest.approx([20 + 5 * index for index in (10, 15, 20, 25)], abs=2)
    # Frames without a rate have no seconds.
    assert explain_score(model, processor, np.zeros((3, 48, 64, 3), np.uint8), "a dog").frame_seconds is None


@pytest.mark.parametrize("interaction", ["dp", "mlp", "xti"])
def test_a_model_without_token_pairs_is_an_error(interaction, make_tiny_model, make_processor):
    model = make_tiny_model(interaction=interaction, cdcr="none").eval()
    # Before anything is decoded: the file isn't there.
    with pytest.raises(ExplanationError, match=f"`interaction`: found '{interaction}'.*expected 'wti' or 'ti'"):
        explain_score(model, make_processor(), "nowhere.mp4", "a dog")


def test_a_score_that_is_no_number_is_an_error(make_tiny_model, make_processor, make_video):
    model = make_tiny_model().eval()
    torch.nn.init.constant_(model.text_projection.weight, float("nan"))
    with pytest.raises(ExplanationError, match="Score of 'a dog' and this video: found nan"):
        explain_score(model, make_processor(), make_video(), "a dog")


WIDE = "a woman who swims sways among many more women, " * 4


@pytest.mark.parametrize(("num_frames", "text"), [(1, "dog"), (20, LONG), (160, "a dog runs"), (20, WIDE)])
def test_no_labels_of_a_picture_overlap(num_frames, text, make_tiny_model, make_processor, randomize, make_video):
    """Read off the drawn figure: no two texts share a place, and none leaves the figure."""
    model = randomize(make_tiny_model(temporal_encoder="none"), 0)
    processor = make_processor(max_frames=32)
    video = make_video(num_frames=num_frames, fps=10, height=48, width=48)
    figure = draw_figure(explain_score(model, processor, video, text))
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    shown = [text for text in texts if text.axes is None or text.axes.axison or text in text.axes.texts]
    boxes = np.array([text.get_window_extent().extents for text in shown])
    assert (boxes[:, :2] >= -1.5).all() and (boxes[:, 2:] <= figure.bbox.size + 1.5).all()
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).min(axis=-1)
    np.fill_diagonal(shared, 0)
    i, j = np.unravel_index(shared.argmax(), shared.shape)
    assert shared.max() <= 1.5, (shown[i].get_text(), shown[j].get_text())  # pixels, of the empty space around letters


def test_terms_below_0_look_otherwise(make_tiny_model, make_processor, randomize, make_video):
    explanation = explain_score(randomize(make_tiny_model(), 0), make_processor(), make_video(), "a dog runs")
    for sign in (1, -1):
        explanation.cosines = sign * np.abs(explanation.cosines) - 1e-3 * (sign < 0)
        bars = [bar for axes in draw_figure(explanation).axes for bar in axes.patches]
        hatched = [bar for bar in bars if bar.get_hatch()]
        assert len(hatched) == (0 if sign > 0 else len(explanation.words) + len(explanation.frames))


def test_characters_without_a_glyph_are_named():
    assert drawable("a 🐕\n$x$ \x07") == "a U+1F415 $x$ U+0007"


@pytest.fixture
def folder(make_tiny_model, make_processor, randomize, make_video, tmp_path, monkeypatch) -> Path:
    """A saved model and a video, in the current folder."""
    randomize(make_tiny_model(), 0).save_pretrained(tmp_path / "model")
    make_processor().save_pretrained(tmp_path / "model")
    make_video("good.mp4", num_frames=30)
    (tmp_path / "page.mp4").write_text("<html>404</html>")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explain(*flags: str) -> int:
    given = {flag.split("=")[0] for flag in flags}
    defaults = {"--video": "good.mp4", "--text": "a dog 🐕 runs for $5 \\frac{"}
    return main(["explain", "model", *flags, *(f"{k}={v}" for k, v in defaults.items() if k not in given)])


def test_the_command_prints_and_draws_the_same_score(folder: Path, capsys):
    assert explain() == 0
    shown = capsys.readouterr().out
    similarity, t2v, v2t = map(float, re.search(r"similarity (\S+) = (\S+) .* \+ (\S+) ", shown).groups())
    assert t2v + v2t == pytest.approx(similarity, abs=2e-4) and "6 (2.50 s)" in shown
    with Image.open(folder / "explanation.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 500
        assert len(picture.convert("RGB").resize((64, 64)).getcolors(64 * 64)) > 10
    assert explain("--output=part.svg", "--start=1", "--end=2") == 0
    assert (folder / "part.svg").read_text().startswith("<?xml")
    assert "1 (1.00 s)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--video=gone.mp4"], "gone.mp4: found no such file"),
        (["--video=page.mp4"], "page.mp4: found data in no known video format"),
        (["--text= "], "found the blank text"),
        (["--text=a \udcff"], "found invalid Unicode"),
        (["--start=9"], "found start=9.0 and end=None in a video of 3.000 s"),
        (["--output=picture.txt"], "picture.txt: found the suffix '.txt', expected one of"),
        (["--output=nowhere/a.png"], "found no folder nowhere"),
        (["--output=model"], "model: found a folder"),
    ],
)
def test_a_wrong_input_is_one_line(flags, said, folder: Path, capsys):
    assert explain(*flags) == 1
    error = capsys.readouterr().err
    assert "drl-tvr: error: " in error and said in error
    assert "Traceback" not in error and not list(folder.glob("*.png"))


def test_a_model_that_is_not_whole_is_refused(folder: Path, capsys):
    (folder / "model" / "model.safetensors").unlink()
    assert explain() == 1
    assert "model.safetensors" in capsys.readouterr().err


def test_a_checkpoint_of_other_weights_is_refused(folder: Path, make_tiny_model, capsys):
    from safetensors.torch import load_file, save_file

    file = folder / "model" / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if "token_weights" not in name}
    save_file(weights, file, metadata={"format": "pt"})
    assert explain() == 1
    assert "model is not a trained DRL model: found weights that are missing (8, e.g. " in capsys.readouterr().err


def test_without_matplotlib_the_error_says_what_to_install(folder: Path):
    code = "import sys; sys.modules['matplotlib'] = None\nfrom drl_tvr_cli import main\n"
    code += "sys.exit(main(['explain', 'model', '--video', 'good.mp4', '--text', 'a dog']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install matplotlib" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.shared
def test_real_clips_are_explained_and_drawn(shared_dir, make_tiny_model, make_processor, randomize, tmp_path):
    model, processor, drawn = randomize(make_tiny_model(), 2), make_processor(), 0
    for video in sorted((shared_dir / "videos").iterdir()):
        try:
            explanation = explain_score(model, processor, video, "a dog runs")
        except VideoDecodeError:
            continue
        assert explanation.t2v + explanation.v2t == pytest.approx(explanation.similarity, abs=1e-6)
        assert explanation.frame_seconds == sorted(explanation.frame_seconds)
        drawn += 1
    plot_explanation(explanation, tmp_path / "real.png")
    assert drawn > 20 and (tmp_path / "real.png").stat().st_size > 1000
