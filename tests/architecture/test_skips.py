"""A test that skips tells what is missing and how to get it: every run prints the reasons at its end."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_WAYS_OUT = re.compile(r"`[^`]+`|\b(?:pip|apt|apt-get) install\b|\binstall \w+|\brun (?:this )?(?:as|with)\b")
NOTHING_TO_BE_DONE = {
    "the C library is not glibc, which has to be told",
    "the C library is not glibc from 2.33 on, which can be asked",
    "this build of onnxruntime reports nothing by itself",
}
"""Reasons that are the machine's, and no lack of a tool."""

_SOME_TESTS = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_gone(number):
    pytest.skip("no tool: `get it`")

@pytest.mark.skipif(True, reason="no tool: `get it`")
def test_gone_too(): ...

def test_passes(): ...
"""


def test_every_reason_to_skip_says_what_to_do() -> None:
    """A command, or a package's name; a tool that nobody knows how to get is never got."""
    reasons = list(_reasons())
    assert len(reasons) > 30, "the reasons are not found any more"
    silent = {(place, reason) for place, reason in reasons if reason is None or not _WAYS_OUT.search(reason)}
    assert {(place, reason) for place, reason in silent if reason not in NOTHING_TO_BE_DONE} == set()
    assert NOTHING_TO_BE_DONE <= {reason for _, reason in reasons}, "an exception that nothing needs any more"


def test_each_reason_is_printed_once_at_the_end(tmp_path: Path) -> None:
    """With how many tests skipped for it; nothing is printed where none did."""
    (tmp_path / "test_some.py").write_text(_SOME_TESTS, encoding="utf-8")
    for names, told in (("gone", "not tested here"), ("passes", "")):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml")]
        command += ["-p", "no:cacheprovider", "-k", names, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout
        assert told in done.stdout and ("    3  no tool: `get it`" in done.stdout) == bool(told)


def _reasons() -> Iterator[tuple[str, str | None]]:
    """Where a test may skip, and what it says then; None for what is neither a text nor a constant of its file."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            ast.unparse(node.targets[0]): _text(node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (reason := _reason_of(node)) is not _NO_SKIP:
                told = constants.get(reason.id) if isinstance(reason, ast.Name) else _text(reason)
                yield f"{path.relative_to(ROOT)}:{node.lineno}", told


_NO_SKIP = ast.Pass()


def _reason_of(call: ast.Call) -> ast.AST | None:
    """The expression that tells why, None where there is none, `_NO_SKIP` for any other call."""
    name = ast.unparse(call.func)
    by_keyword = next((keyword.value for keyword in call.keywords if keyword.arg == "reason"), None)
    if name == "pytest.skip":
        return call.args[0] if call.args else by_keyword
    return by_keyword if name in ("pytest.importorskip", "pytest.mark.skipif", "pytest.mark.skip") else _NO_SKIP


def _text(node: ast.AST | None) -> str | None:
    """A literal's text, what is filled in left out; None for any other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value for part in node.values if isinstance(part, ast.Constant))
    return None
