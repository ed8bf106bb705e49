"""Who imports whom in the package: the architecture's rules as a table, checked on the syntax trees."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_import_files


PACKAGE = Path(__file__).parents[1] / "src" / "drl_tvr"

MODEL_FILES = tuple(sorted(file.stem for file in (PACKAGE / "model").glob("*.py") if file.stem != "__init__"))
MODELING = ("model.modeling_drl", "model.pair_networks", "model.encoders", "model.decorrelation", "model.losses")
ROLES = ("model.modeling_drl", "model.processing_drl", "model.video_processing_drl")
LOADING = ("data.frame_store", "data.loading", "data.records")

# Modules are named as seen from inside the package; a package stands for all that is in it. "only": of our own modules
# these and no other (and its own). "never": any but these.
LAYERS = (
    ("files", "only", ()),
    ("terminal", "only", ()),
    # 1. What is published imports nothing of ours outside itself; the role files sit on top of the helpers.
    ("model", "only", ()),
    *((f"model.{name}", "never", ROLES) for name in MODEL_FILES if not name.endswith("_drl")),
    ("model.processing_drl", "never", MODELING),
    ("model.video_processing_drl", "never", (*MODELING, "model.processing_drl")),
    # 2. Data knows no model.
    ("data", "only", ("model", "files", "terminal")),
    ("data", "never", MODELING),
    ("conversion", "only", ("model", "files")),
    ("explanation", "only", ("model", "files", "terminal")),
    # 3. Evaluation and training know no benchmark.
    ("evaluation", "only", ("model", "files", "terminal", *LOADING)),
    ("hub", "only", ("model", "files", "evaluation")),
    ("training", "only", ("model", "files", "terminal", "evaluation", "hub", *LOADING)),
)

NO_NETWORK = ("huggingface_hub.cached_assets_path", "huggingface_hub.dataclasses", "huggingface_hub.errors")

# Packages of others that only some places may see, and the parts of them that all may see.
OUTSIDE = (
    ("torch.distributed", ("training.distributed", "training.fsdp"), ()),
    ("huggingface_hub", ("hub",), NO_NETWORK),
    ("requests", ("hub",), ()),
    ("httpx", ("hub",), ()),
    ("aiohttp", ("hub",), ()),
    # A video may be a URL: Python reads it, so that FFmpeg needs no network.
    ("http.client", ("hub", "model.remote_file"), ()),
    ("urllib.request", ("hub", "model.remote_file"), ()),
    ("socket", ("hub",), ()),
)

# The model files run from the Hub on machines that have transformers, torch, torchvision and what these require.
# Anything else may only be imported where `is_..._available()` says so.
NEEDED_BY_MODEL_FILES = {"torch", "torchvision", "transformers", "huggingface_hub", "numpy", "PIL"}


def is_in(name: str, module: str) -> bool:
    """Whether a dotted name is `module` (which may hold wildcards) or lies in it."""
    return fnmatchcase(name, module) or fnmatchcase(name, f"{module}.*")


def is_in_any(name: str, modules: tuple[str, ...]) -> bool:
    return any(is_in(name, module) for module in modules)


def imported_names(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[str, ast.AST]]:
    """Every dotted name that a module imports (`from a import b` is `a.b`), or reaches from a name it imported."""
    path = ["drl_tvr", *filter(None, module.split("."))]
    package = path if is_package else path[:-1]
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                bound[alias.asname or root] = alias.name if alias.asname else root
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                name = ".".join([*base, alias.name])
                bound[alias.asname or alias.name] = name
                yield name, node
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root in bound:
                yield f"{bound[root]}.{rest}", node


def layer_breaches(module: str, name: str, modules: set[str]) -> Iterator[str]:
    """What is wrong with `module` importing `name`, one of ours as seen from inside the package."""
    if name.split(".")[0] not in {*modules, "__version__"} and module != "":
        yield f"imports {name} from the package's root, which hides whose it is"
    if name == "__version__":
        return
    for who, kind, whom in LAYERS:
        if not is_in(module, who) or is_in(name, who):
            continue
        if kind == "only" and not is_in_any(name, whom):
            yield f"imports {name}, and of ours {who} may import only {', '.join(whom) or 'nothing'}"
        if kind == "never" and is_in_any(name, whom) and not is_in_any(module, whom):
            yield f"imports {name}, which is never for {who}"


def import_breaches(tree: ast.Module, module: str, is_package: bool, modules: set[str]) -> Iterator[tuple[int, str]]:
    for name, node in imported_names(tree, module, is_package):
        if name == "drl_tvr":
            yield node.lineno, "imports the package's root"
        elif is_in(name, "drl_tvr_cli"):
            yield node.lineno, "imports the command, which sits on top"
        elif name.startswith("drl_tvr."):
            for breach in layer_breaches(module, name.removeprefix("drl_tvr."), modules):
                yield node.lineno, breach
        for outside, places, free in OUTSIDE:
            if is_in(name, outside) and not is_in_any(module, places) and not is_in_any(name, free):
                yield node.lineno, f"sees {name}, which is for {' and '.join(places)} alone"


def flat_form_breaches(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The Hub's code copier follows `from .x import y`, at the start of a line, and nothing else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            ours = node.level > 0 or (node.module or "").split(".")[0] == "drl_tvr"
            if ours and (node.level != 1 or not node.module or "." in node.module):
                yield node.lineno, "imports ours in another form than `from .x import y`"
            if node.module == "__future__" and any(alias.name == "annotations" for alias in node.names):
                yield node.lineno, "imports annotations from __future__, which breaks strict configurations"
        elif isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "drl_tvr" for alias in node.names):
            yield node.lineno, "imports ours in another form than `from .x import y`"


def habit_breaches(tree: ast.Module, module: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "asserts; raise a typed error"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "catches everything; name the error"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "prints; use the logger"


def breaches(package: Path) -> list[str]:
    """All breaches in the tree of a package, as `file:line: what is wrong`."""
    files = sorted(package.rglob("*.py"))
    modules = {file.relative_to(package).parts[0].removesuffix(".py") for file in files}
    found = []
    for file in files:
        parts = file.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        in_file = [*import_breaches(tree, module, is_package, modules), *habit_breaches(tree, module)]
        if module.startswith("model."):
            in_file += flat_form_breaches(tree)
        found += [f"{file.relative_to(package)}:{line}: {breach}" for line, breach in sorted(set(in_file))]
    return found


def test_the_package_keeps_to_its_layers():
    found = breaches(PACKAGE)
    assert not found, "\n".join(found)


def test_the_command_keeps_to_the_rules_of_the_package():
    """It sits on top, so it may import all of ours, from the root too, and it may print."""
    tree = ast.parse((PACKAGE.parent / "drl_tvr_cli.py").read_text(encoding="utf-8"))
    found = {breach for _, breach in [*import_breaches(tree, "", True, set()), *habit_breaches(tree, "drl_tvr_cli")]}
    assert found <= {"prints; use the logger"}


def test_every_layer_of_the_table_exists():
    # A rule about a module that was renamed would hold for ever.
    named = {name for who, _, whom in LAYERS for name in (who, *whom)}
    named |= {place for _, places, _ in OUTSIDE for place in places}
    paths = [PACKAGE.joinpath(*name.split(".")) for name in named]
    assert not [path for path in paths if not path.is_dir() and not path.with_suffix(".py").is_file()]


@pytest.mark.parametrize("name", MODEL_FILES)
def test_the_model_files_load_from_the_hub_with_transformers_and_torch_alone(name):
    file = PACKAGE / "model" / f"{name}.py"
    assert set(get_imports(file)) <= NEEDED_BY_MODEL_FILES | sys.stdlib_module_names


def test_what_the_hub_copies_is_the_model_folder():
    """The copier follows the imports of the published classes: every file of the folder, and not its `__init__`."""
    roles = [PACKAGE / f"{role.replace('.', '/')}.py" for role in ROLES]
    copied = {Path(file) for role in roles for file in [role, *get_relative_import_files(role)]}
    assert copied == {PACKAGE / "model" / f"{name}.py" for name in MODEL_FILES}


def test_importing_the_package_prints_nothing():
    # Each public name too: a lazy import would otherwise have printed nothing yet.
    code = "import drl_tvr; [getattr(drl_tvr, name) for name in drl_tvr.__all__]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# A file, what it says, and a part of what the checker must say of it ("" for nothing).
SAMPLES = (
    ("model/modeling_drl.py", "from .losses import contrastive_loss", ""),
    ("model/modeling_drl.py", "from drl_tvr.model.losses import contrastive_loss", "another form"),
    ("model/modeling_drl.py", "from . import losses", "another form"),
    ("model/modeling_drl.py", "from ..files import sync", "imports"),
    ("model/modeling_drl.py", "from __future__ import annotations", "__future__"),
    ("model/interaction.py", "import torch\nfrom .modeling_drl import DRLModel", "never for model.interaction"),
    ("model/configuration_drl.py", "from huggingface_hub.dataclasses import strict", ""),
    ("model/configuration_drl.py", "from huggingface_hub import hf_hub_download", "which is for hub alone"),
    ("model/processing_drl.py", "def f():\n    from .modeling_drl import DRLModel", "never for model.processing_drl"),
    ("data/__init__.py", "from .benchmarks import load_benchmark", ""),
    ("data/collator.py", "from ..model.processing_drl import DRLProcessor", ""),
    ("data/collator.py", "from ..model.modeling_drl import DRLModel", "never for data"),
    ("data/collator.py", "import drl_tvr.training", "data may import only model, files"),
    ("data/collator.py", "from .. import DRLModel", "imports DRLModel"),
    ("data/collator.py", "import drl_tvr", "the package's root"),
    ("data/collator.py", "from drl_tvr_cli import main", "sits on top"),
    ("data/benchmarks/msvd.py", "from ..records import Record\nfrom huggingface_hub import cached_assets_path", ""),
    ("evaluation/encode.py", "from ..data import load_benchmark", "evaluation may import only"),
    ("evaluation/encode.py", "from .. import data\nx = data.load_benchmark('msvd')", "evaluation may import only"),
    ("training/trainer.py", "from ..evaluation.metrics import ranks\nfrom .distributed import gather", ""),
    ("training/trainer.py", "from ..data.records import RetrievalData\nfrom ..hub.push import push", ""),
    ("training/trainer.py", "from ..data import RetrievalData", "training may import only"),
    ("training/trainer.py", "from huggingface_hub import HfApi", "which is for hub alone"),
    ("hub/push.py", "from ..training.distributed import gather", "hub may import only"),
    ("training/trainer.py", "import torch\nx = torch.distributed.get_rank()", "training.fsdp alone"),
    ("training/trainer.py", "from torch import distributed as dist", "training.fsdp alone"),
    ("training/distributed.py", "import torch.distributed as dist\nx = dist.get_rank()", ""),
    ("hub/push.py", "from huggingface_hub import HfApi\nfrom .. import __version__", ""),
    ("__init__.py", "from .model.modeling_drl import DRLModel", ""),
    ("data/doctor.py", "assert True", "asserts"),
    ("data/doctor.py", "print('done')", "prints"),
    ("data/doctor.py", "try:\n    x = 1\nexcept:\n    x = 2", "catches everything"),
    ("data/doctor.py", "import urllib.request", "model.remote_file alone"),
    ("model/remote_file.py", "from urllib import request", ""),
    ("model/video_source.py", "from urllib import request", "model.remote_file alone"),
)


@pytest.mark.parametrize(("path", "source", "said"), SAMPLES)
def test_the_checker_catches_a_breach(tmp_path, path, source, said):
    for name in ("files", "model/losses", "data/records", "hub/push", "evaluation/metrics", "training/distributed"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").touch()
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(source)
    found = breaches(tmp_path)
    assert bool(found) == bool(said), found
    assert all(said in breach for breach in found), found
