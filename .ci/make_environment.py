"""Make the virtual environment of the Makefile: `python make_environment.py VENV STAMP`.

Two `make` at once, in two terminals, must not wipe each other's environment: one works, the other one waits. Every
process that works on the environment holds the lock, so it ends with the last of them, however that one ends.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path


def lock(venv: Path) -> int:
    """Wait for any other set-up of this environment, and return the descriptor that makes the next one wait."""
    # A name that nothing else uses: a folder `uv` may have a neighbour `uv.lock`.
    path = venv.parent / f"{venv.name}.drl-tvr-setup.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Another set-up of {venv} (process {path.read_text()}) is not finished: waiting for it.", flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def is_foreign(venv: Path) -> bool:
    """Return whether a folder holds something and is not a virtual environment."""
    return venv.is_dir() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").is_file()


def set_up(venv: Path, stamp: Path, held: int) -> int:
    """Make or complete the environment and return the exit status; `held` is the descriptor of the lock."""
    if stamp.exists():
        return 0  # made by the set-up that this one waited for
    # The lock file holds a process id as long as a set-up runs. One that is still there is that of a killed set-up,
    # which may have left half of an environment.
    if is_foreign(venv) and not os.pread(held, 20, 0).isdigit():
        print(f"VENV: found {venv}, expected a virtual environment or an absent folder.", file=sys.stderr)
        return 1
    os.ftruncate(held, 0)
    os.write(held, str(os.getpid()).encode())

    commands = [[venv / "bin" / "python", "-m", "pip", "install", "--editable", ".[dev]"]]
    place = stamp.name.rpartition("-")[0]
    if not list(venv.glob(f"{place}-*")):
        commands.insert(0, [sys.executable, "-m", "venv", "--clear", venv])
    for old in venv.glob(".setup-*"):
        old.unlink()
    try:
        for command in commands:
            print(*command, flush=True)
            subprocess.run(command, pass_fds=[held], check=True)
        stamp.touch()
    except subprocess.CalledProcessError:
        return 1  # the command said why
    finally:
        if not is_foreign(venv):
            os.ftruncate(held, 0)
    return 0


if __name__ == "__main__":
    folder, target = map(Path, sys.argv[1:])
    try:
        sys.exit(set_up(folder, target, lock(folder)))
    except KeyboardInterrupt:
        sys.exit(130)
