"""Measures how long the command and the package take to start: CPU seconds and peak memory, in processes of their own.

    python benchmarks/imports.py [--repeats N]

Each line is the median of N processes ± half their range. The ratios are those of the CPU seconds, to the imports that
no program with a model can avoid.
"""

import argparse
import os
import subprocess
import sys
from statistics import median


COMMAND = [sys.executable, "-m", "drl_tvr_cli"]
STARTS = {
    "drl-tvr --help": [*COMMAND, "--help"],
    "drl-tvr evaluate --split foo": [*COMMAND, "evaluate", "model", "--benchmark", "msvd", "--split", "foo"],
    "import torch": [sys.executable, "-c", "import torch"],
    "from transformers import CLIPModel": [sys.executable, "-c", "from transformers import CLIPModel"],
    "import drl_tvr": [sys.executable, "-c", "import drl_tvr"],
    "from transformers import Trainer": [sys.executable, "-c", "from transformers import Trainer"],
    "from drl_tvr import DRLTrainer": [sys.executable, "-c", "from drl_tvr import DRLTrainer"],
}
BASELINES = ("import torch", "from transformers import CLIPModel")


def measure(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of a process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="processes per line")
    repeats = parser.parse_args().repeats
    # Alternating, so that other work on the machine meets all lines alike; the first round fills the disk cache.
    runs = {name: [] for name in STARTS}
    for _ in range(repeats + 1):
        for name, command in STARTS.items():
            runs[name].append(measure(command))
    # Not before: a process starts with the peak of the one that made it, and this import brings torch.
    from measuring import machine

    print(machine())
    seconds = {name: [run[0] for run in of_name[1:]] for name, of_name in runs.items()}
    print("| start | CPU s | peak MB | times torch | times CLIPModel |\n|---|---:|---:|---:|---:|")
    for name, values in seconds.items():
        ratios = " | ".join(f"{median(values) / median(seconds[baseline]):.2f}" for baseline in BASELINES)
        spread = (max(values) - min(values)) / 2
        memory = median(run[1] for run in runs[name][1:])
        print(f"| `{name}` | {median(values):.2f} ± {spread:.2f} | {memory:,.0f} | {ratios} |")


if __name__ == "__main__":
    main()
