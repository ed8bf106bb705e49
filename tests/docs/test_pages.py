"""Every Python and bash block of the README and the documentation runs, page by page, or says why it does not.

The blocks of a page run in order, in one namespace and one copy of the folder of the examples. A block is left out
when its first line is a comment that a reader sees as well: `# needs: the Hub`, or `# takes minutes`; what can be
checked of such a block without running it is checked. A block without a language that directly follows one that runs
is its output, and compared.
"""

import ast
import contextlib
import doctest
import importlib
import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
from documentation import NEEDS, PAGES, ROOT, RUNNABLE, SHOWN, TAKES_MINUTES, Block, blocks_of, unknown_needs
from test_docstrings import OPTIONS, OutputChecker

import drl_tvr_cli


LONGEST = 120  # seconds of a bash block: one that takes longer is marked
BLOCKS = {page: blocks_of(page) for page in PAGES}
WITH_CODE = [page for page, blocks in BLOCKS.items() if any(block.is_runnable for block in blocks)]


def name_of(page: Path) -> str:
    """The path of a page from the repository's root."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_blocks_of_a_page_run(page: Path, workplace: Path):
    names = {"__name__": "__main__"}
    for block in BLOCKS[page]:
        if not block.is_runnable or block.mark is not None:
            continue
        printed = run_python(block, names) if block.language == "python" else run_bash(block)
        if block.output is not None:
            checker, example = OutputChecker(), doctest.Example("", block.output)
            if not checker.check_output(example.want, printed, OPTIONS):
                pytest.fail(f"{block.place}: {checker.output_difference(example, printed, OPTIONS)}", pytrace=False)


def run_python(block: Block, names: dict) -> str:
    """Run a Python block, prompts or not, and return what it prints."""
    from transformers.testing_utils import HfDocTestParser

    printed = io.StringIO()
    if ">>> " in block.text:
        test = HfDocTestParser().get_doctest(block.text, names, block.place, str(block.page), block.line - 1)
        test.globs = names  # a copy would hide its names from the blocks that follow
        runner = doctest.DocTestRunner(OutputChecker(), verbose=False, optionflags=OPTIONS)
        results = runner.run(test, out=printed.write, clear_globs=False)
        if results.failed:
            pytest.fail(printed.getvalue(), pytrace=False)
        return ""
    code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def run_bash(block: Block) -> str:
    """Run a bash block and return what it prints.

    A block of nothing but `drl-tvr` commands runs in this process, which saves the time to import torch.
    """
    if all(re.fullmatch(r"drl-tvr [^|&;<>$`()]*", command) for command in block.commands):
        return "".join(run_command(block, command) for command in block.commands)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    if done.returncode:
        pytest.fail(f"{block.place}: exit code {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


def run_command(block: Block, command: str) -> str:
    """Run one `drl-tvr` command in this process and return what it prints."""
    printed, said = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = drl_tvr_cli.main(words_of(command)[1:])
    texts = []
    for stream in (printed, said):
        stream.seek(0)
        texts.append(stream.read())
    if code:
        pytest.fail(f"{block.place}: {command}: exit code {code}\n{''.join(texts)}", pytrace=False)
    return texts[0]


def words_of(command: str) -> list[str]:
    """Split a command as a shell does, and leave its comment out."""
    return shlex.split(command, comments=True)


def test_every_block_runs_or_says_why_not(record_testsuite_property):
    runnable = [block for blocks in BLOCKS.values() for block in blocks if block.is_runnable]
    marks = [block.mark for block in runnable]
    counts = {
        "run": marks.count(None),
        "need something": sum(mark is not None and mark.startswith("# needs:") for mark in marks),
        "take minutes": marks.count(TAKES_MINUTES),
    }
    print(", ".join(f"{number} blocks {what}" for what, number in counts.items()))
    wrong = []
    for block in [block for blocks in BLOCKS.values() for block in blocks]:
        if block.language not in (*RUNNABLE, *SHOWN):
            wrong.append(f"{block.place}: language {block.language!r}, expected one of {(*RUNNABLE, *SHOWN)}")
        if block.is_runnable and block.mark and block.mark != TAKES_MINUTES:
            if unknown_needs(block.mark):
                wrong.append(f"{block.place}: needs {unknown_needs(block.mark)}, expected one of {NEEDS}")
        elif block.is_runnable and not block.mark and re.search(r"# (needs|takes)", block.text):
            wrong.append(f"{block.place}: the mark is not the first line")
    assert not wrong, "\n".join(wrong)
    assert counts["run"] >= 20


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_a_line_has_at_most_119_characters(page: Path):
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    assert not [number for number, line in lines if len(line) > 119 and not line.startswith("|")]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_what_a_marked_block_names_exists(page: Path, workplace: Path):
    wrong = []
    for block in BLOCKS[page]:
        if not block.is_runnable or block.mark is None:
            continue
        if block.language == "python":
            wrong += [f"{block.place}: {name}" for name in missing_names(block.text)]
            continue
        for command in block.commands:
            try:
                check_command(words_of(command))
            except (Exception, SystemExit) as error:
                wrong.append(f"{block.place}: {command}: {error}")
    assert not wrong, "\n".join(wrong)


def missing_names(code: str) -> list[str]:
    """Return what a Python block imports and does not exist."""
    missing = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("drl_tvr", "transformers"):
            module = importlib.import_module(node.module)
            missing += [f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name)]
    return missing


def check_command(words: list[str]) -> None:
    """Check a command without running it: its target, its script, its options.

    Raises:
        `ValueError` or `SystemExit`: When something is not there.
    """
    if words[0] == "make":
        if not re.search(rf"^{re.escape(words[1])}:", (ROOT / "Makefile").read_text(), re.MULTILINE):
            raise ValueError(f"the Makefile has no target {words[1]!r}")
    elif words[0] == "drl-tvr":
        check_options(words[1:])
    elif words[:2] == ["accelerate", "launch"]:
        from accelerate.commands.launch import launch_command_parser

        args = launch_command_parser().parse_args(words[2:])
        check_script(args.training_script, args.training_script_args)
    elif words[0] == "torchrun":
        from torch.distributed.run import parse_args

        args = parse_args(words[1:])
        check_script(args.training_script, args.training_script_args)
    elif words[0] == "python":
        is_module = words[1] == "-m"
        script = importlib.import_module(f"{words[2]}.__main__").__file__ if is_module else ROOT / words[1]
        source = Path(script).read_text()
        for flag in (word for word in words[2:] if word.startswith("--")):
            if f'"{flag}"' not in source:
                raise ValueError(f"{script} has no option {flag}")


def check_options(argv: list[str]) -> None:
    """Parse the arguments of `drl-tvr` without running the command."""
    typer.main.get_command(drl_tvr_cli.app).commands[argv[0]].make_context(argv[0], argv[1:])


def check_script(script: str, argv: list[str]) -> None:
    """Parse the arguments of the training script without running it."""
    from drl_tvr.training.recipe import parse_recipe

    if not (ROOT / script).is_file():
        raise ValueError(f"there is no script {script}")
    # Whether this machine can compute in bfloat16 is not a property of the command.
    parse_recipe([*argv, "--bf16", "false"], ROOT / "examples" / "configs" / "moving_shapes.yaml")
