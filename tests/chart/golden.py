"""What the chart renders for each set of values, as it was last looked at: `golden/NAME.yaml`.

`minimal` is kept whole, of the others what is different from it, so that a change shows once. Made secrets and long
files are shortened. `python -m tests.chart.make_files` writes the files; look at their difference before you commit it.
"""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.chart.fetch_tools import find_helm
from tests.chart.value_sets import VALUE_SETS

CHART = Path(__file__).resolve().parents[2] / "helm" / "rejoinder"
GOLDEN = Path(__file__).with_name("golden")
_WHOLE = "minimal"
_LONGEST_TEXT = 600

Manifests = dict[str, Any]


def golden(name: str) -> Manifests:
    """What the file of a set of values should hold."""
    found = rendered(name)
    if name == _WHOLE:
        return found
    whole = rendered(_WHOLE)
    changed = {key: manifest for key, manifest in found.items() if whole.get(key) != manifest}
    gone = sorted(whole.keys() - found.keys())
    return changed | ({f"not in {name}": gone} if gone else {})


def rendered(name: str, helm: str | None = None) -> Manifests:
    """The manifests of a set of values by kind and name, with what no two renderings share left out."""
    command = [helm or find_helm() or "helm", "template", "shop", str(CHART), "--namespace", "bots", "--values", "-"]
    values = yaml.safe_dump(VALUE_SETS[name])
    done = subprocess.run(command, input=values, check=True, capture_output=True, text=True, timeout=120)
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    return {f"{manifest['kind']} {manifest['metadata']['name']}": _shortened(manifest) for manifest in manifests}


def _shortened(manifest: Manifests) -> Manifests:
    if manifest["kind"] == "Secret":
        return manifest | {"data": dict.fromkeys(manifest["data"], "made anew each time")}
    short: Manifests = _short(manifest)
    return short


def _short(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _short(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_short(value) for value in node]
    if isinstance(node, str) and len(node) > _LONGEST_TEXT:
        return f"{len(node)} characters, sha256 {hashlib.sha256(node.encode()).hexdigest()}"
    return node


def golden_text(name: str) -> str:
    """The file of a set of values."""
    head = "# Made by `python -m tests.chart.make_files` from value_sets.py; what is like `minimal` is left out.\n"
    return head + yaml.safe_dump(golden(name), sort_keys=True, width=120, allow_unicode=True)
