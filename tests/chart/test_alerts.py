"""The alerts: their rules by promtool, when each fires, the page that each links to, and which metrics they use."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.telemetry import Telemetry
from tests.chart.conftest import CHART, Helm, Render
from tests.chart.make_files import COMPOSE_RULES, README, compose_rules, readme_with_table
from tests.chart.value_sets import MONITORED

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = _ROOT / "docs" / "runbooks"
_CASES = yaml.safe_load(Path(__file__).with_name("alert_cases.yaml").read_text(encoding="utf-8"))
_RELEASE_LABELS = 'namespace="bots",job="shop-rejoinder"'


@pytest.fixture(scope="module")
def groups(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rules of a release that trains by its schedule, in Prometheus' own form."""
    values = tmp_path_factory.mktemp("chart") / "values.yaml"
    values.write_text(yaml.safe_dump(MONITORED), encoding="utf-8")
    rule = ("--show-only", "templates/prometheusrule.yaml")
    done = helm("template", "shop", str(CHART), "--namespace", "bots", "--values", str(values), *rule)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = yaml.safe_load(done.stdout)["spec"]["groups"]
    return found


def _alerts(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def exported_metrics() -> set[str]:
    """Every series name that the service can show, and `up`, which Prometheus makes."""
    families = Telemetry().registry.collect()
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    return {"up"} | {family.name + suffix for family in families for suffix in suffixes[family.type]}


def used_metrics(expression: str) -> set[str]:
    """The names of series in a PromQL expression."""
    without_texts = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\brejoinder_\w+|\bup\b", without_texts))


def test_promtool_takes_the_rules(promtool: Helm, groups: list[dict[str, Any]], tmp_path: Path) -> None:
    """Every expression and every template parses."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    done = promtool("check", "rules", str(tmp_path / "rules.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_cases_of_both_kinds(groups: list[dict[str, Any]]) -> None:
    """An alert that nobody has seen fire, or be quiet, is not one."""
    assert _CASES.keys() == _alerts(groups).keys()
    assert all(case["fires"] and case["quiet"] for case in _CASES.values())


@pytest.mark.parametrize("alert", _CASES)
def test_an_alert_fires_when_it_should_and_not_else(
    promtool: Helm, groups: list[dict[str, Any]], tmp_path: Path, alert: str
) -> None:
    """promtool lets time pass over the cases' series."""
    own = {"name": "own", "rules": [_alerts(groups)[alert]]}  # alone: promtool takes its time over weeks of all of them
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [own]}), encoding="utf-8")
    paces: dict[str, list[dict[str, Any]]] = {}
    for case, fires in ((case, kind == "fires") for kind in ("fires", "quiet") for case in _CASES[alert][kind]):
        paces.setdefault(case.get("every", "1m"), []).append(_promtool_test(alert, case, fires=fires))
    for pace, tests in paces.items():  # weeks by the minute would take promtool minutes
        about = {"rule_files": ["rules.yaml"], "evaluation_interval": pace, "tests": tests}
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
        done = promtool("test", "rules", str(tmp_path / "test.yaml"))
        assert done.returncode == 0, done.stdout + done.stderr


def _promtool_test(alert: str, case: dict[str, Any], *, fires: bool) -> dict[str, Any]:
    series = {"up": "1x720", **case["series"]}
    return {
        "interval": case.get("every", "1m"),
        "input_series": [{"series": _with_labels(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0',
                "eval_time": case["at"],
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


def _with_labels(series: str) -> str:
    name, _, labels = series.partition("{")
    own = labels.rstrip("}")
    instance = "" if "instance=" in own else ',instance="a"'
    return f"{name}{{{_RELEASE_LABELS}{instance}{',' if own else ''}{own}}}"


def test_alerts_and_dashboard_use_only_metrics_that_the_service_exports(groups: list[dict[str, Any]]) -> None:
    """A name that nothing exports would be an alert that never fires, or a panel that stays empty."""
    expressions = [rule["expr"] for rule in _alerts(groups).values()]
    used = set().union(*map(used_metrics, expressions + dashboard_expressions()))
    assert used - exported_metrics() == set()
    assert len(used) > 15


def test_every_alert_is_of_this_release_only(groups: list[dict[str, Any]]) -> None:
    """Two releases in one Prometheus do not set off each other's alerts."""
    for name, rule in _alerts(groups).items():
        selectors = re.findall(r"(?:rejoinder_\w+|\bup)(\{[^}]*\}|)", re.sub(r"[\n ]+", " ", rule["expr"]))
        assert selectors and all(_RELEASE_LABELS in selector for selector in selectors), name


def test_every_alert_has_its_page_and_every_page_its_alert(groups: list[dict[str, Any]]) -> None:
    """The link in the alert leads to a page that says what it means, what to look at and what to do."""
    alerts = _alerts(groups)
    assert {path.stem for path in _PAGES.glob("*.md")} == alerts.keys() | {"README"}
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"] == f"https://git.example/rejoinder/docs/runbooks/{name}.md"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        page = (_PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {name}\n")
        headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
        assert headings == ["What it means", "What to look at", "What to do"], name
        assert f"]({name}.md)" in (_PAGES / "README.md").read_text(encoding="utf-8"), name


def test_pages_name_only_metrics_that_exist(groups: list[dict[str, Any]]) -> None:
    """What a page tells to look at can be looked at."""
    exported = exported_metrics()
    for path in sorted(_PAGES.glob("*.md")):
        named = set(re.findall(r"\brejoinder_[a-z_]+\b", path.read_text(encoding="utf-8")))
        assert {name for name in named if name not in exported} == set(), path.name


def dashboard_expressions() -> list[str]:
    """The expressions of all panels and variables."""
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return targets


def test_promtool_takes_the_expressions_of_the_dashboard(promtool: Helm, tmp_path: Path) -> None:
    """Put into rules, with Grafana's variables filled in, every one parses."""
    rules = [
        {"record": f"panel:{number}", "expr": fill_in(expression)}
        for number, expression in enumerate(dashboard_expressions())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rules) > 12


def fill_in(expression: str) -> str:
    """An expression as Grafana would send it."""
    filled = (
        expression.replace("$__rate_interval", "5m").replace("$namespace", "bots").replace("$job", "shop-rejoinder")
    )
    assert "$" not in filled, expression
    return filled


def test_the_dashboard_in_the_config_map_is_the_file(render: Render) -> None:
    """Helm changes nothing of it, braces of Grafana's legends included."""
    (config,) = (m for m in render(MONITORED) if m["metadata"]["name"] == "shop-rejoinder-dashboard")
    (text,) = config["data"].values()
    assert json.loads(text) == json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_no_alert_waits_for_training_that_nobody_scheduled(render: Render) -> None:
    """Suspended, there is no run to be missed."""
    values = {**MONITORED, "training": {"suspend": True}}
    (rule,) = (manifest for manifest in render(values) if manifest["kind"] == "PrometheusRule")
    assert "RejoinderTrainingStale" not in _alerts(rule["spec"]["groups"])


def test_the_rules_of_the_compose_file_are_those_of_the_chart(helm: Helm) -> None:
    """One box has the same alerts; the file says how it is made again."""
    assert helm("version").returncode == 0
    assert COMPOSE_RULES.read_text(encoding="utf-8") == compose_rules()


def test_the_table_of_values_in_the_readme_is_todays() -> None:
    """`python -m tests.chart.make_files` makes it from the comments in values.yaml."""
    readme = README.read_text(encoding="utf-8")
    assert readme == readme_with_table(readme)
    assert readme.count("\n| `") > 100
