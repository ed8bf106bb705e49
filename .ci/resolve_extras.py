"""Check that all optional dependencies can be installed together, into this environment, without installing them.

Usage: python resolve_extras.py REPORT. The versions are printed and pip's report is written to the file REPORT.
"""

import json
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path


REPOSITORY = Path(__file__).parents[1]


def main(report: Path) -> int:
    config = ConfigParser()
    config.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    extras = ",".join(config["options.extras_require"])
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", report]
    if subprocess.run([*command, f"{REPOSITORY}[{extras}]"]).returncode:
        print(f"The extras {extras} cannot be installed together.", file=sys.stderr)
        return 1
    entries = json.loads(report.read_text(encoding="utf-8"))["install"]
    packages = [entry["metadata"] for entry in entries if not entry["requested"]]
    found = ", ".join(sorted(f"{package['name']} {package['version']}" for package in packages))
    print(f"The extras {extras} can be installed together. They would add or change: {found}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
