"""Nothing is imported from the folder that one stands in: it may be a stranger's data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


# As the installed command: the interpreter looks beside the script, not in the current folder. One process runs all.
SCRIPT = """
import sys
from drl_tvr_cli import main

if __name__ == "__main__":
    model, table = sys.argv[1:]
    assert main(["doctor", ".", "--num-workers", "1"]) == 0
    evaluate = ["evaluate", model, "--benchmark", table, "--device", "cpu", "--num-workers", "1"]
    assert main([*evaluate, "--output", "result.json", "--frame-cache-dir", "frames"]) == 0
    assert main(["explain", model, "--video", "good.mp4", "--text", "a dog"]) == 0
    assert main(["plot", "result.json"]) == 0

    from drl_tvr.data.moving_shapes import build_moving_shapes
    build_moving_shapes("shapes", splits=("test",), num_train=1, num_validation=1, num_test=1)
"""


def test_no_command_runs_code_or_reads_settings_of_the_current_folder(
    make_video, make_tiny_model, tiny_processor, tmp_path
):
    pytest.importorskip("matplotlib")
    data, bin_folder, model, marks = (tmp_path / name for name in ("data", "bin", "model", "marks"))
    for folder in (data, bin_folder, marks):
        folder.mkdir()
    make_tiny_model().save_pretrained(model)
    tiny_processor.save_pretrained(model)
    make_video("good.mp4").rename(data / "good.mp4")
    table = tmp_path / "table.csv"
    table.write_text(f"video,caption,split\n{data / 'good.mp4'},a grey wall,test\n")
    (bin_folder / "command.py").write_text(SCRIPT)

    # The name of everything that this process has imported, as a module or a package.
    names = {name.partition(".")[0] for name in sys.modules} | {"sitecustomize", "usercustomize"} - {"__main__"}
    for number, name in enumerate(sorted(names)):
        file = data / name / "__init__.py" if number % 2 else data / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"open({str(marks / name)!r}, 'w').close()\n")
    (data / "matplotlibrc").write_text("savefig.dpi: 7\nfigure.dpi: 7\naxes.facecolor: 00ff00\nbackend: module://av\n")
    (data / ".numba_config.yaml").write_text("{")
    (data / ".env").write_text("HF_HUB_OFFLINE=no\n")

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
    command = [sys.executable, bin_folder / "command.py", model, table]
    done = subprocess.run(command, cwd=data, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in marks.iterdir()] == []
    for picture in ("explanation.png", "recall.png"):
        colors = Image.open(data / picture).convert("RGB").getcolors(2**24)
        assert (0, 255, 0) not in {color for _, color in colors}
