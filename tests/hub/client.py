"""Real clients of the test Hub: this process, and fresh ones with and without the package."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hub_server import Hub
from huggingface_hub import constants


SOURCE = Path(__file__).parents[2] / "src"

# Without `site` no .pth file of an editable installation is read, and -I leaves PYTHONPATH aside. Where the package is
# installed like any other, the finder hides it.
WITHOUT_PACKAGE = f"""
import sys
sys.path.append({sysconfig.get_path("purelib")!r})
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "drl_tvr":
            raise ModuleNotFoundError("No module named 'drl_tvr'")
sys.meta_path.insert(0, Hide())
try:
    import drl_tvr
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("drl_tvr can be imported here")
"""


def use_hub(monkeypatch: pytest.MonkeyPatch, hub: Hub, cache: Path, token: str | None) -> None:
    """Point this process's huggingface_hub, which read the environment long ago, at the test Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    else:
        monkeypatch.setenv("HF_TOKEN", token)


def run_client(
    code: str, hub: Hub, home: Path, *, package: bool, token: str | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """Run code in a fresh process whose home is `home`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and name != "PYTHONPATH"}
    env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    env |= {"PYTHONPATH": str(SOURCE)} if package else {}
    env |= {"HF_TOKEN": token} if token else {}
    options = [] if package else ["-I", "-S"]
    return subprocess.run(
        [sys.executable, *options, "-c", code if package else WITHOUT_PACKAGE + code],
        env={**env, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def ask_client(code: str, hub: Hub, home: Path, **kwargs) -> dict:
    """Run code and parse the last line that it prints as JSON."""
    done = run_client(code, hub, home, **kwargs)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
