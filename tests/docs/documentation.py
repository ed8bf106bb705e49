"""Read the code blocks of the pages and the examples of the docstrings, without importing what they are of."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "drl_tvr"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "source" / "en").rglob("*.md"))]

# What the first line of a block names in a comment when the tests do not run it: `# needs: the Hub, several GPUs`.
NEEDS = (
    "the Hub",
    "the network",
    "several GPUs",
    "several machines",
    "MSR-VTT",
    "MSVD",
    "LSMDC",
    "VATEX",
    "ActivityNet",
    "DiDeMo",
    "an official checkpoint",
    "videos of your own",
)
TAKES_MINUTES = "# takes minutes"
# A block of these languages is run or marked; blocks of these others are shown only.
RUNNABLE = ("python", "bash")
SHOWN = ("", "csv", "json", "yaml")

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\s`]*) *\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.M | re.S)


@dataclass
class Block:
    """One code block of a page.

    Args:
        page (`Path`): The page.
        line (`int`): Line of its first line, from 1.
        language (`str`): What follows the opening fence.
        text (`str`): What is between the fences.
        output (`str`, *optional*): The block without a language that directly follows: what running it prints.
    """

    page: Path
    line: int
    language: str
    text: str
    output: str | None = None
    place: str = field(init=False)

    def __post_init__(self):
        self.place = f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def mark(self) -> str | None:
        """The first line when it says why the tests do not run the block."""
        first = self.text.partition("\n")[0].strip()
        return first if first.startswith("# needs:") or first == TAKES_MINUTES else None

    @property
    def is_runnable(self) -> bool:
        """Whether the language is one of those that the tests run."""
        return self.language in RUNNABLE

    @property
    def commands(self) -> list[str]:
        """The commands of a bash block, one per line, with continued lines joined and comments left out."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def unknown_needs(mark: str) -> list[str]:
    """Return what a mark `# needs: a, b` names and is not one of `NEEDS`."""
    return [need for need in mark.strip().removeprefix("# needs: ").split(", ") if need not in NEEDS]


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    end = 0
    for found in FENCE.finditer(text):
        indent = len(found["indent"])
        lines = [line[indent:] for line in found["text"].splitlines(keepends=True)]
        block = Block(page, text.count("\n", 0, found.start()) + 2, found["language"], "".join(lines))
        if blocks and blocks[-1].is_runnable and not block.language and not text[end : found.start()].strip():
            blocks[-1].output = block.text
        else:
            blocks.append(block)
        end = found.end()
    return blocks


@dataclass
class Docstring:
    """A string of a module that shows examples.

    Args:
        path (`Path`): File of the module.
        line (`int`): Line where the string begins, from 1.
        name (`str`): The class or function that it describes.
        text (`str`): The string.
    """

    path: Path
    line: int
    name: str
    text: str

    @property
    def place(self) -> str:
        """The file, the line of the first example and the name, for the name of a test."""
        before = self.text[: self.text.index(">>>") if ">>>" in self.text else self.text.index("```python")]
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.line + before.count(chr(10))}:{self.name}"

    @property
    def fences(self) -> list[str]:
        """The contents of its ```python blocks."""
        return [found["text"] for found in FENCE.finditer(self.text) if found["language"] == "python"]

    def without_marked(self) -> str:
        """The text whose blocks that begin with `# needs:` are blank lines, so that line numbers stay."""
        is_marked = re.compile(r"\s*# needs: ")
        return FENCE.sub(
            lambda found: "\n" * found[0].count("\n") if is_marked.match(found["text"]) else found[0], self.text
        )


def docstrings_of(path: Path) -> Iterator[Docstring]:
    """Yield the strings of a file that hold an example."""

    def walk(node: ast.AST, name: str) -> Iterator[Docstring]:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{name}.{child.name}" if name else child.name
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                if re.search(r"^\s*(>>> |```python)", child.value, re.MULTILINE):
                    yield Docstring(path, child.lineno, name or path.stem, child.value)
            yield from walk(child, inner)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), "")
