"""The house rules that a machine can hold: sizes, names, layers, and what each program may import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("service", "model_store", "training")
BANNED_MODULE_NAMES = {"utils", "helpers", "common", "misc", "base", "manager"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_STAGE_LINES, MAX_MODULES = 400, 40, 60, 10

CATCHES_EVERYTHING = re.compile(r"\s*except(:|.*\b(Exception|BaseException)\b)")


def source_files() -> list[Path]:
    return sorted(path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and code lines (without docstring, comments, blank lines) of every function in a file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nested = {n for n in ast.walk(node) if n is not node and isinstance(n, ast.FunctionDef)}
            inner = {line for n in nested for line in range(n.lineno, (n.end_lineno or 0) + 1)}
            doc = ast.get_docstring(node, clean=False)
            start = node.body[0].end_lineno if doc is not None else node.lineno - 1
            body = (lines[i] for i in range(start or 0, node.end_lineno or 0) if i + 1 not in inner)
            yield node.name, sum(1 for line in body if line.strip() and not line.strip().startswith("#"))


def test_no_file_is_longer_than_its_ceiling() -> None:
    """A file holds at most 400 lines."""
    long = {
        str(p.relative_to(ROOT)): n for p in source_files() if (n := len(p.read_text().splitlines())) > MAX_FILE_LINES
    }
    assert long == {}


def test_no_function_is_longer_than_its_ceiling() -> None:
    """A function holds at most 40 code lines, a stage's `run` 60."""
    long = [
        f"{path.relative_to(ROOT)}:{name} has {count} lines"
        for path in source_files()
        for name, count in functions(path)
        if count > (MAX_STAGE_LINES if "stages" in path.parts and name == "run" else MAX_FUNCTION_LINES)
    ]
    assert long == []


def test_no_directory_holds_too_many_modules() -> None:
    """A directory holds at most 10 modules; the package's own files do not count."""
    counts = {}
    for directory in {path.parent for path in source_files()} - {ROOT / program for program in PROGRAMS}:
        counts[str(directory.relative_to(ROOT))] = sum(1 for p in directory.glob("*.py") if not p.name.startswith("__"))
    assert {name: count for name, count in counts.items() if count > MAX_MODULES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    """Module names say what lives in them."""
    assert [str(path) for path in source_files() if path.stem in BANNED_MODULE_NAMES] == []


def test_whoever_catches_everything_says_why() -> None:
    """`except Exception` would hide a fault: it says in its line why it must not, or why it stands there."""
    silent = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in source_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if CATCHES_EVERYTHING.match(line) and "  # " not in line
    ]
    assert silent == []


def test_every_module_says_what_lives_in_it() -> None:
    """Every module has a docstring of at most 12 lines."""
    for path in source_files():
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc, path
        if path.name != "errors.py":
            assert len(doc.splitlines()) <= 12, path


def test_layers_hold() -> None:
    """import-linter finds every layer contract kept."""
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-2000:]


@pytest.mark.parametrize("module", ["service.app", "model_store.cli"])
def test_serving_never_imports_a_training_library(module: str) -> None:
    """A fresh process that imports the service or the shelf has loaded no torch, transformers, onnx or datasets."""
    code = (
        f"import sys, {module}; "
        "print([m for m in ('torch', 'transformers', 'onnx', 'datasets', 'training') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
