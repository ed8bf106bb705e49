"""Builds the documentation with Hugging Face's doc-builder, without node and without the network.

    python docs/build.py OUTPUT_DIR

doc-builder fails by itself on an `[[autodoc]]` of what does not exist, on a docstring with an unclosed code block and
when pages and table of contents disagree. It lets pass, and this does not: a reference [`X`] or a relative link that
leads nowhere, and a docstring that it takes for reStructuredText.
"""

import argparse
import importlib
import os
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


# Read on import: doc-builder imports GitPython, which asks for a git that nothing here uses.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("TQDM_DISABLE", "1")

from doc_builder.autodoc import find_object_in_package, get_shortest_path, is_rst_docstring  # noqa: E402
from doc_builder.build_doc import build_mdx_files, check_toc_integrity, resolve_links  # noqa: E402
from doc_builder.external import EXTERNAL_DOC_OBJECTS_CACHE, HUGGINFACE_LIBS  # noqa: E402


SOURCE = Path(__file__).parent / "source" / "en"

LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]+)\)")
REFERENCE = re.compile(r"\[`([^`]+)`\](?!\()")
HEADING = re.compile(r"^#+ (.*?)(?:\[\[(.+)\]\])?$", re.MULTILINE)
CODE = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """What one can link to in a built page: its headings, by doc-builder's rule, and its documented objects."""
    text = page.read_text(encoding="utf-8")
    titles = HEADING.findall(CODE.sub("", text))
    slugs = {given or re.sub(r"[^a-z0-9-]", "", title.strip().lower().replace(" ", "-")) for title, given in titles}
    return slugs | set(re.findall(r"<anchor>([^<]+)</anchor>", text))


def broken_links(source: Path, output: Path) -> Iterator[str]:
    for page in sorted(source.rglob("*.md")):
        for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path if path else page).resolve()
            where = f"{page.relative_to(source)}: the link {target}"
            if not linked.is_file() or not linked.is_relative_to(source.resolve()):
                yield f"{where} leads to no file of the documentation"
            elif anchor and anchor not in anchors_of(
                output / linked.relative_to(source.resolve()).with_suffix(".mdx")
            ):
                yield f"{where} leads to no heading or object of that page"


def broken_references(output: Path, package: ModuleType, documented: dict[str, str]) -> Iterator[str]:
    transformers = importlib.import_module("transformers")
    for page in sorted(output.rglob("*.mdx")):
        for reference in sorted(set(REFERENCE.findall(page.read_text(encoding="utf-8")))):
            name = reference.removeprefix("~").split("#")[0]
            found = find_object_in_package(name, package)
            if found is None:
                theirs = name.split(".")[0] in HUGGINFACE_LIBS
                if not theirs and find_object_in_package(name, transformers) is None:
                    yield f"{page.relative_to(output)}: the reference [`{reference}`] names nothing"
            # None is for what we inherit, which has no page of ours.
            elif get_shortest_path(found, package) not in {None, *documented}:
                yield f"{page.relative_to(output)}: the reference [`{reference}`] names what no page documents"


def misread_docstrings(package: ModuleType, documented: dict[str, str]) -> Iterator[str]:
    for name in sorted(documented):
        found = find_object_in_package(name, package)
        if is_rst_docstring(getattr(found, "__doc__", None) or ""):
            yield f"{name}: doc-builder reads the docstring as reStructuredText (double backquotes, or a role)"


def build(source: Path, output: Path, package: ModuleType) -> int:
    """Build the pages of `source` into `output`, which is emptied first.

    Returns:
        `int`: The number of pages.

    Raises:
        `ValueError` or `RuntimeError`: With everything that is wrong.
    """
    page_info = {"package_name": package.__name__, "version": "main", "language": "en"}
    # Otherwise it would fetch the other libraries' indices to link to them.
    EXTERNAL_DOC_OBJECTS_CACHE.update({library: {} for library in HUGGINFACE_LIBS})
    shutil.rmtree(output, ignore_errors=True)
    documented, _ = build_mdx_files(package, source, output, page_info, version_tag_suffix="src/")
    check_toc_integrity(source, output)
    wrong = [
        *broken_links(source, output),
        *broken_references(output, package, documented),
        *misread_docstrings(package, documented),
    ]
    if wrong:
        raise ValueError("\n".join(wrong))
    resolve_links(output, package, documented, page_info)
    pages = sorted(output.rglob("*.mdx"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        # The site links without a suffix, a repository with it. And the sources have no public address to link to.
        text = LINK.sub(lambda link: link[0].replace(".md", ""), text)
        page.write_text(re.sub(r"<source>.*?</source>", "", text), encoding="utf-8")
    return len(pages)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the documentation, strictly.")
    parser.add_argument("output", type=Path, help="folder for the built pages; it is emptied first")
    output = parser.parse_args().output
    package = importlib.import_module("drl_tvr")
    for module in pkgutil.walk_packages(package.__path__, "drl_tvr."):
        # A page names objects by their path from the package, which ends at a module that nothing has imported yet.
        if not module.name.startswith("drl_tvr.evaluation.text_video_retrieval"):
            importlib.import_module(module.name)
    try:
        pages = build(SOURCE, output, package)
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{pages} pages in {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
