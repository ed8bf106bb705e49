"""Measure seconds and peak memory for the benchmarks, in separate processes, and name the machine."""

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
    """Wait for the GPU, when there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of a call, and half their range."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        synchronize()
        seconds.append(time.perf_counter() - began)
    return median(seconds), (max(seconds) - min(seconds)) / 2


def memory(device: str) -> float:
    """Return the MB in use: the resident set, or the memory that torch has allocated on the GPU."""
    if device == "cuda":
        return torch.cuda.memory_allocated() / 2**20
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10


def reset_peak(device: str) -> None:
    """Set the peak to the memory in use."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> float:
    """Return the peak MB since the last `reset_peak`."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10


def matmul_rate(device: str, dtype: torch.dtype = torch.float32) -> float:
    """Return the FLOP/s of a large matrix product."""
    size = 8192 if device == "cuda" else 2048
    a, b = torch.randn(size, size, device=device, dtype=dtype), torch.randn(size, size, device=device, dtype=dtype)
    seconds, _ = seconds_of(lambda: a @ b, 5)
    return 2 * size**3 / seconds


def run_apart(script: str, arguments: list, **env: str) -> dict:
    """Run `script --one ARGUMENTS` in a separate process, which has its own peak memory, and parse its last line."""
    command = [sys.executable, script, "--one", json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, **env})
    return json.loads(done.stdout.splitlines()[-1])


def machine(device: str = "cpu") -> str:
    """Return the name of the device, the number of threads and the version of torch."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        name = f"{torch.get_num_threads()} threads on {found[1] if found else platform.machine()}"
    return f"{name}, torch {torch.__version__}"
