"""The training example in two processes that a launcher started: one is killed, and the same command resumes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml


REPOSITORY = Path(__file__).parents[2]


def ranks_of(recipe: Path) -> dict[str, int]:
    """Finds the training processes of a recipe, by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:  # it ended
            continue
        variables = dict(part.partition(b"=")[::2] for part in environment)
        if os.fsencode(recipe) in command and b"RANK" in variables:
            found[variables[b"RANK"].decode()] = int(process.name)
    return found


def test_a_launched_run_of_which_a_process_is_killed_ends_and_goes_on_and_is_finished(small_root, tmp_path):
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = {
        "output_dir": str(tmp_path / "out"),
        "root": str(small_root),
        "frame_cache_dir": str(tmp_path / "cache"),
        "max_frames": 4,
        "model": {
            "projection_dim": 32,
            "text_config": tower,
            "vision_config": {**tower, "image_size": 32, "patch_size": 8},
        },
        "per_device_train_batch_size": 4,
        "max_steps": 20,
        "save_steps": 5,
        "eval_steps": 5,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "use_cpu": True,
        "report_to": "none",
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    # What `accelerate launch` starts several processes with. On a CPU, this version of it starts one alone.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(REPOSITORY / "examples" / "train_tvr.py"), "--config", str(tmp_path / "recipe.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    settings = {"env": environment, "cwd": tmp_path, "text": True, "stdout": subprocess.PIPE}

    with subprocess.Popen(command, **settings, stderr=subprocess.STDOUT) as launcher:
        while not (tmp_path / "out" / "checkpoint-5").exists():
            assert launcher.poll() is None, launcher.stdout.read()[-3000:]
            time.sleep(0.01)
        ranks = ranks_of(tmp_path / "recipe.yaml")
        os.kill(ranks["1"] if "1" in ranks else launcher.pid, signal.SIGKILL)
        said, _ = launcher.communicate(timeout=120)
    assert set(ranks) == {"0", "1"}
    assert launcher.returncode != 0 and "Signal 9 (SIGKILL)" in said
    assert not (tmp_path / "out" / "test_results.json").exists()

    done = subprocess.run(command, **settings, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 0 and "The run resumes from" in done.stdout, done.stdout[-3000:]
    results = json.loads((tmp_path / "out" / "test_results.json").read_text())
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert (state["global_step"], results["data"]["num_videos"]) == (20, 10)
    assert [entry["step"] for entry in state["log_history"] if "eval_t2v_R@1" in entry] == list(range(5, 21, 5))

    weights = (tmp_path / "out" / "model.safetensors").stat()
    # What changes no weight can still be asked for: a search, and the push.
    asked = [*command, "--search", "a red circle", "--push_to_hub", "true", "--hub_model_id", "me/drl"]
    settings["env"] = {**environment, "HF_HUB_OFFLINE": "1"}
    again = subprocess.run(asked, **settings, stderr=subprocess.STDOUT, timeout=120)
    assert again.stdout.count("this run is finished") == again.stdout.count('"a red circle"') == 1, again.stdout[
        -3000:
    ]
    assert again.returncode != 0 and "Nothing is published to me/drl: `HF_HUB_OFFLINE` is set" in again.stdout
    assert again.stdout.count("\ntext to video ") == 1
    assert (tmp_path / "out" / "model.safetensors").stat() == weights
