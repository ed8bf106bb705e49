"""Run transformers-mlinter on our model files, with all its rules except those in `SKIPPED`.

Its command line can add rules to its defaults but cannot remove one, hence this file. Where a rule is wrong for one
line only, that line says so with `# trf-ignore: TRF000` and the reason.
"""

import sys
from pathlib import Path

import mlinter


PACKAGE = Path(__file__).parents[1] / "src" / "drl_tvr" / "model"

SKIPPED = {
    # These read files of a checkout of transformers, and find nothing to check elsewhere.
    "TRF009": "imports between model folders",
    "TRF020": "latent attention, found through the folders of models",
    "TRF038": "tests/models/<model>/test_*.py; ours mirror src",
    "TRF042": "tokenizer tests in tests/models",
    "TRF059": "experts, found through the folders of models",
    # These demand what a model outside transformers does in another way.
    "TRF028": "a licence header per file; here one LICENSE covers all files, and the model card names it on the Hub",
    "TRF037": "no einsum (off by default); the interactions are easiest to read as einsums",
    "TRF041": "a note on the checkpoints behind each branch; ours branch on the documented options of the method",
    "TRF057": "@auto_docstring, which knows only the files of transformers; our docstrings state every shape",
}


def main() -> int:
    unknown = sorted(set(SKIPPED) - set(mlinter.TRF_RULES))
    if unknown:
        print(f"transformers-mlinter {mlinter.__version__} has no rule {', '.join(unknown)}.", file=sys.stderr)
        return 2
    rules = set(mlinter.TRF_RULES) - set(SKIPPED)
    files = list(mlinter.iter_modeling_files(search_paths=[PACKAGE]))
    violations = [
        violation
        for file in files
        for violation in mlinter.analyze_file(file, file.read_text(encoding="utf-8"), enabled_rules=rules)
    ]
    for violation in violations:
        path = violation.file_path.relative_to(PACKAGE.parents[2])
        print(f"{path}:{violation.line_number}: {violation.message}", file=sys.stderr)
    names = ", ".join(file.name for file in files)
    print(f"transformers-mlinter: {len(rules)} rules on {names}: {len(violations)} violations.")
    return 1 if violations or not files else 0


if __name__ == "__main__":
    sys.exit(main())
