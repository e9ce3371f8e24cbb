"""What is rendered is what was looked at, and every value does something."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.conftest import CHART
from tests.chart.golden import GOLDEN, golden
from tests.chart.make_files import README
from tests.chart.value_sets import VALUE_SETS

_TO_OPERATORS = ("resources", "annotations", "labels", "thresholds")
Path = tuple[str, ...]


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_chart_renders_what_was_looked_at(name: str) -> None:
    """A difference is either a mistake or to be looked at: `python -m tests.chart.make_files`, then `git diff`."""
    assert golden(name) == yaml.safe_load((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"))


def test_no_golden_file_is_left_over() -> None:
    """At least a dozen sets of values, and a file for each."""
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == VALUE_SETS.keys()
    assert len(VALUE_SETS) >= 12


def _leaves(values: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that can be set by itself; what operators fill in as they like is one value."""
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in _TO_OPERATORS:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _leaf_values() -> dict[Path, Any]:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return {path: value for path, value in _leaves(values) if path != ("global",)}


def test_every_value_is_in_the_readme() -> None:
    """Its table names each, or the block that it belongs to."""
    text = README.read_text(encoding="utf-8")
    missing = [".".join(path) for path in _leaf_values() if f"| `{'.'.join(path)}" not in text]
    assert missing == []


def test_every_value_is_used() -> None:
    """A template asks for it, or for the block that is handed on whole: settings to the pod, images to their helper."""
    templates = [path.read_text(encoding="utf-8") for path in sorted((CHART / "templates").rglob("*.*"))]
    asked = {tuple(name.split(".")) for text in templates for name in re.findall(r"\.Values\.([\w.]*\w)", text)}
    handed_on = {("settings",), ("image",), ("training", "image"), ("monitoring", "prometheusRule", "thresholds")}
    assert handed_on <= asked
    unused = [
        ".".join(path)
        for path in _leaf_values()
        if path not in asked and not any(path[: len(b)] == b for b in handed_on)
    ]
    assert unused == []
    helper = next(text for text in templates if 'define "rejoinder.image"' in text)
    assert all(f".image.{name}" in helper for name in ("repository", "tag", "digest"))
