"""What the benchmarks share: seconds, peak memory, processes of their own, the machine's name."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of a call, and half their range."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        synchronize()
        seconds.append(time.perf_counter() - began)
    return median(seconds), (max(seconds) - min(seconds)) / 2


def memory(device: str) -> float:
    """MB in use now: the resident set, or what torch has allocated on the GPU."""
    if device == "cuda":
        return torch.cuda.memory_allocated() / 2**20
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10


def reset_peak(device: str) -> None:
    """Let the peak begin at what is in use now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> float:
    """MB at the peak since [`reset_peak`]."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10


def matmul_rate(device: str, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of a large matrix product."""
    size = 8192 if device == "cuda" else 2048
    a, b = torch.randn(size, size, device=device, dtype=dtype), torch.randn(size, size, device=device, dtype=dtype)
    seconds, _ = seconds_of(lambda: a @ b, 5)
    return 2 * size**3 / seconds


def run_apart(script: str, arguments: list, **env: str) -> dict:
    """What `script --one ARGUMENTS` prints, from a process of its own, so that its peak memory is its own."""
    command = [sys.executable, script, "--one", json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, **env})
    return json.loads(done.stdout.splitlines()[-1])


def machine(device: str = "cpu") -> str:
    """Its name, the threads used, and torch's version."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = f"{torch.get_num_threads()} threads on {found[1] if found else platform.machine()}"
    return f"{name}, torch {torch.__version__}"
