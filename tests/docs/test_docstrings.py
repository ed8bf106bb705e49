"""Every example of a docstring runs, and prints what it says.

A ```python block that needs what a test cannot have begins with a line that says so: `# needs: the Hub`.
"""

import doctest
import importlib
import importlib.util
import re
from types import ModuleType

import pytest
from documentation import NEEDS, PACKAGE, Docstring, docstrings_of, unknown_needs


DOCSTRINGS = [docstring for path in sorted(PACKAGE.rglob("*.py")) for docstring in docstrings_of(path)]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
IGNORE_RESULT = doctest.register_optionflag("IGNORE_RESULT")


class OutputChecker(doctest.OutputChecker):
    """Doctest's checker, which knows `# doctest: +IGNORE_RESULT` as transformers does."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return bool(optionflags & IGNORE_RESULT) or super().check_output(want, got, optionflags)


def module_of(docstring: Docstring) -> ModuleType:
    """Import the module of a docstring; the metric's folder is not a package and is loaded from its file."""
    parts = docstring.path.relative_to(PACKAGE.parent).with_suffix("").parts
    if (docstring.path.parent / "__init__.py").is_file():
        return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    spec = importlib.util.spec_from_file_location(parts[-1], docstring.path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("docstring", DOCSTRINGS, ids=[docstring.place for docstring in DOCSTRINGS])
def test_the_examples_of_a_docstring_run(docstring: Docstring, workplace):
    from transformers.testing_utils import HfDocTestParser

    names = dict(vars(module_of(docstring)))
    test = HfDocTestParser().get_doctest(
        docstring.without_marked(), names, docstring.name, str(docstring.path), docstring.line - 1
    )
    said = []
    runner = doctest.DocTestRunner(OutputChecker(), verbose=False, optionflags=OPTIONS)
    results = runner.run(test, out=said.append, clear_globs=False)
    assert not results.failed, "".join(said)


def test_a_block_of_a_docstring_runs_or_says_what_it_needs():
    assert len(DOCSTRINGS) > 25
    wrong = []
    for docstring in DOCSTRINGS:
        for fence in docstring.fences:
            mark = re.match(r"\s*# needs: .*", fence)
            if mark is not None and unknown_needs(mark[0]):
                wrong.append(f"{docstring.place}: needs {unknown_needs(mark[0])}, expected one of {NEEDS}")
            elif mark is None and ">>> " not in fence:
                wrong.append(f"{docstring.place}: a Python block without >>> is never run")
        if "+SKIP" in docstring.without_marked():
            wrong.append(f"{docstring.place}: # doctest: +SKIP does not say why; begin the block with `# needs: ...`")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_output_fails():
    test = doctest.DocTestParser().get_doctest(
        ">>> 1 + 1\n3\n>>> 1 + 1  # doctest: +IGNORE_RESULT\n", {}, "add", None, 0
    )
    results = doctest.DocTestRunner(OutputChecker(), verbose=False, optionflags=OPTIONS).run(test, out=lambda _: None)
    assert (results.failed, results.attempted) == (1, 2)


def test_a_marked_block_is_left_out_and_keeps_the_lines():
    text = "Do.\n\n```python\n# needs: the Hub\n>>> push()\n```\n\n```python\n>>> 1\n1\n```\n"
    left = Docstring(PACKAGE / "files.py", 1, "do", text).without_marked()
    assert "push" not in left and left.splitlines().index(">>> 1") == text.splitlines().index(">>> 1")
