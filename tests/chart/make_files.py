"""Writes what is made from the chart: `python -m tests.chart.make_files`.

`deploy/compose/prometheus/rules.yaml` are the chart's alerts, the table in `helm/rejoinder/README.md` its values,
`golden/` what it renders. Tests hold all equal to what this makes.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.chart.fetch_tools import find_helm
from tests.chart.golden import GOLDEN, golden_text
from tests.chart.value_sets import VALUE_SETS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "rejoinder"
README = CHART / "README.md"
COMPOSE_RULES = ROOT / "deploy" / "compose" / "prometheus" / "rules.yaml"
_TABLE_BEGINS, _TABLE_ENDS = "<!-- values begin -->", "<!-- values end -->"
_KEY = re.compile(r"^( *)([A-Za-z]+):(?: (.*))?$")
_OPERATORS_OWN = ("resources", "annotations", "labels", "requests", "limits", "publicPaths")


def compose_rules() -> str:
    """The chart's alerts for the compose file's Prometheus."""
    command = [find_helm() or "helm", "template", "rejoinder", str(CHART), "--namespace", "compose"]
    command += ["--set", "monitoring.prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml"]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    head = "# The chart's alerts, for one box. Made by `python -m tests.chart.make_files`; a test holds them equal.\n"
    return head + yaml.safe_dump(yaml.safe_load(rendered)["spec"], sort_keys=False, width=120, allow_unicode=True)


def readme_with_table(readme: str) -> str:
    """The chart's README with the table of today's values in its place."""
    head, _, rest = readme.partition(_TABLE_BEGINS)
    _, _, tail = rest.partition(_TABLE_ENDS)
    rows = "".join(f"| `{key}` | {default} | {text} |\n" for key, default, text in _rows())
    return f"{head}{_TABLE_BEGINS}\n| value | default | |\n|---|---|---|\n{rows}{_TABLE_ENDS}{tail}"


def _rows() -> Iterator[tuple[str, str, str]]:
    """Each value with its default and what the comment above it says; what an operator fills in is one value."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    path: list[str] = []
    comment: list[str] = []
    told = ""
    for line in text.splitlines():
        if line.lstrip().startswith("# ") and not line.startswith("#  "):
            comment.append(line.strip()[2:])
            continue
        key = _KEY.match(line)
        if key is None:
            comment = []
            continue
        path = [*path[: len(key[1]) // 2], key[2]]
        told = " ".join(comment) or told
        comment = []
        if key[3] is not None or _is_operators_own(path):
            if not _is_operators_own(path[:-1]):
                yield ".".join(path), _as_code(_at(values, path)), told.replace("|", "\\|")


def _is_operators_own(path: list[str]) -> bool:
    return any(part in _OPERATORS_OWN for part in path)


def _at(values: Any, path: list[str]) -> Any:
    for part in path:
        values = values[part]
    return values


def _as_code(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")
    return f"`{text}`".replace("|", "\\|")


def main() -> int:
    """Writes all files and gives the exit code."""
    COMPOSE_RULES.write_text(compose_rules(), encoding="utf-8")
    README.write_text(readme_with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    GOLDEN.mkdir(exist_ok=True)
    for name in VALUE_SETS:
        (GOLDEN / f"{name}.yaml").write_text(golden_text(name), encoding="utf-8")
    print(COMPOSE_RULES, README, GOLDEN, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
