"""The strict documentation build catches what would be broken for a reader."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest


pytest.importorskip("doc_builder", reason="building the documentation needs the extra `docs`")

BUILD = Path(__file__).parents[1] / "docs" / "build.py"

MODULE = '''
class Cat:
    """A cat.

    Args:
        name (`str`): Its name.

    Example:

    ```python
    >>> Cat("Tom")
    ```"""

    def __init__(self, name): ...

    def meow(self):
        """Say it as a [`Cat`] does."""


class Dog:
    """A dog."""


class Fish:
    """A ``fish``."""
'''
TABLE = "- sections:\n  - local: index\n    title: Home\n  - local: api/cat\n    title: Cat\n  title: All\n"
INDEX = "# My home\n\nSee [cats](api/cat.md), [`Cat`], [`~Cat.meow`] and [below](#my-home).\n"
CAT = "# Cats\n\n## Cat\n\n[[autodoc]] Cat\n    - meow\n\nBack [home](../index.md#my-home).\n"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds the small documentation of a small package, with some of its files replaced."""
    spec = importlib.util.spec_from_file_location("docs_build", BUILD)
    docs_build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs_build)
    (tmp_path / "animals.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "animals", raising=False)
    package = importlib.import_module("animals")

    def run(**changed):
        files = {"_toctree.yml": TABLE, "index.md": INDEX, "api/cat.md": CAT, **changed}
        for name, text in files.items():
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "source" / name).write_text(text)
        assert docs_build.build(tmp_path / "source", tmp_path / "built", package) == 2
        return tmp_path / "built"

    return run


def test_links_and_references_lead_to_the_built_pages(build):
    built = build()
    index = (built / "index.mdx").read_text()
    assert "[cats](api/cat)" in index
    assert "[Cat](/docs/animals/main/en/api/cat#animals.Cat)" in index
    cat = (built / "api/cat.mdx").read_text()
    assert "<anchor>animals.Cat.meow</anchor>" in cat and "[home](../index#my-home)" in cat
    assert "<source>" not in cat


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"api/cat.md": CAT.replace("] Cat", "] Bird")}, "Unable to find Bird"),
        ({"api/cat.md": CAT.replace("- meow", "- bark")}, "Unable to find Cat.bark"),
        ({"api/cat.md": CAT.replace("] Cat\n    - meow", "] Fish")}, "Fish: doc-builder reads the docstring as re"),
        ({"dog.md": "# Dog\n"}, "- dog\nAdd them to"),
        ({"_toctree.yml": TABLE.replace("index", "start")}, "not present in the table of contents"),
        ({"index.md": INDEX.replace("api/cat.md", "api/dog.md")}, "the link api/dog.md leads to no file"),
        ({"index.md": INDEX.replace("api/cat.md", "api/cat")}, "the link api/cat leads to no file"),
        ({"index.md": INDEX.replace("api/cat.md", "../../animals.py")}, "leads to no file of the documentation"),
        ({"index.md": INDEX.replace("#my-home", "#our-home")}, "the link #our-home leads to no heading"),
        ({"index.md": INDEX.replace("[`Cat`]", "[`Bird`]")}, "the reference [`Bird`] names nothing"),
        ({"index.md": INDEX.replace("[`Cat`]", "[`Dog`]")}, "the reference [`Dog`] names what no page documents"),
    ],
)
def test_the_build_fails_on_what_is_broken(build, changed, said):
    with pytest.raises((ValueError, RuntimeError)) as error:
        build(**changed)
    assert said in str(error.value)


def test_references_to_other_libraries_and_links_in_code_pass(build):
    build(**{"index.md": INDEX + "[`CLIPModel`], [`~datasets.Dataset.map`]\n\n```md\n[x](nowhere.md)\n```\n"})


def test_no_page_has_a_placeholder_left():
    pages = sorted((BUILD.parent / "source").rglob("*.md"))
    assert len(pages) > 20
    left = [page.name for page in pages if re.search(r"(?<![\w^\\])\{[A-Z]{2,}\}|TODO|FIXME", page.read_text())]
    assert not left
