"""What the chart's further resources do: scaling, doors, addresses, jobs, and the pod of `helm test`."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import cli as service_cli
from tests.chart.conftest import CHART, Helm, Render
from tests.chart.value_sets import (
    AUTOSCALED,
    BEHIND_A_GATEWAY,
    BEHIND_AN_INGRESS,
    HIGHLY_AVAILABLE,
    KEDA,
    SHARED,
    SHUT_OFF,
    WITH_ALL_JOBS,
    WITH_ALL_JOBS_SHARED,
)
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import run_fake_service, say_hello
from training import cli as training_cli

Manifest = dict[str, Any]


def _named(manifests: list[Manifest], kind: str, name: str = "shop-rejoinder") -> Manifest:
    (found,) = (m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def _matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod."""
    listed = (labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))
    return selector.get("matchLabels", {}).items() <= labels.items() and all(listed)


def _job_pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    templates = (m["spec"]["jobTemplate"]["spec"]["template"] for m in manifests if m["kind"] == "CronJob")
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in templates}


def test_an_hpa_scales_by_cpu_and_by_waiting_completions(render: Render) -> None:
    """It alone sets the number of pods: the Deployment names none."""
    manifests = render(AUTOSCALED)
    scaler = _named(manifests, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in _named(manifests, "Deployment")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 30)
    cpu, waiting = scaler["metrics"]
    assert cpu["resource"]["target"]["averageUtilization"] == 75
    assert waiting["pods"]["metric"]["name"] == "rejoinder_requests_waiting"
    assert waiting["pods"]["target"]["averageValue"] == "4"
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert scaler["scaleTargetRef"]["name"] == "shop-rejoinder"


def test_keda_takes_the_place_of_the_hpa(render: Render) -> None:
    """Two scalers would pull at the same number; it asks for the series of this release."""
    manifests = render(KEDA)
    assert "HorizontalPodAutoscaler" not in {m["kind"] for m in manifests}
    cpu, waiting = _named(manifests, "ScaledObject")["spec"]["triggers"]
    assert (cpu["type"], waiting["type"]) == ("cpu", "prometheus")
    assert waiting["metadata"]["query"] == 'sum(rejoinder_requests_waiting{namespace="bots",job="bots/rejoinder"})'


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({**AUTOSCALED, "autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "below"),
        ({"purge": {"enabled": True}, "settings": {"retentionDays": 0}}, "retentionDays"),
    ],
    ids=["most-below-fewest", "purge-of-what-is-kept"],
)
def test_values_that_contradict_each_other_are_refused(
    helm: Helm, values_file: Callable[[Manifest], str], values: Manifest, problem: str
) -> None:
    """What the schema cannot compare, the templates do."""
    done = helm("template", "shop", str(CHART), "--values", values_file(values))
    assert done.returncode != 0 and problem in done.stderr


def test_several_pods_are_spread_and_never_all_drained(render: Render) -> None:
    """One pod has neither: it would only hold up a drain."""
    manifests = render(HIGHLY_AVAILABLE)
    template = _named(manifests, "Deployment")["spec"]["template"]
    spread = template["spec"]["topologySpreadConstraints"]
    assert {rule["topologyKey"] for rule in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert all(_matches(rule["labelSelector"], template["metadata"]["labels"]) for rule in spread)
    budget = _named(manifests, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1 and _matches(budget["selector"], template["metadata"]["labels"])
    alone = render()
    assert "PodDisruptionBudget" not in {m["kind"] for m in alone}
    assert "topologySpreadConstraints" not in _named(alone, "Deployment")["spec"]["template"]["spec"]


def test_only_public_paths_are_to_be_had_from_outside(render: Render) -> None:
    """Neither /metrics, which asks for no key, nor the staff's pages."""
    ingress = _named(render(BEHIND_AN_INGRESS), "Ingress")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ingress["spec"]["tls"][0]["hosts"]
    paths = [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    assert paths == ["/v1", "/v1"]
    (rule,) = _named(render(BEHIND_A_GATEWAY), "HTTPRoute")["spec"]["rules"]
    matches = {(match["path"]["type"], match["path"]["value"]) for match in rule["matches"]}
    assert matches == {("PathPrefix", "/v1"), ("PathPrefix", "/web"), ("Exact", "/")}
    assert rule["timeouts"] == {"request": "0s"}


def test_every_pod_is_shut_off_and_has_just_the_doors_it_needs(render: Render) -> None:
    """The service is asked and asks its backends; jobs reach the database only; the test's pod the service only."""
    manifests = render({**WITH_ALL_JOBS_SHARED, **SHUT_OFF})
    denial = _named(manifests, "NetworkPolicy", "shop-rejoinder-deny-all")["spec"]
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    pods = {"service": _named(manifests, "Deployment")["spec"]["template"], **_job_pods(manifests)}
    pods["test"] = _named(manifests, "Pod", "shop-rejoinder-test")
    pods["migrate"] = _named(manifests, "Job", "shop-rejoinder-migrate")["spec"]["template"]
    doors = {}
    for component, pod in pods.items():
        labels = pod["metadata"]["labels"]
        assert _matches(denial["podSelector"], labels), component
        rules = [p for p in policies if _matches(p["podSelector"], labels)]
        ports = {way: [d["port"] for p in rules for r in p.get(way, []) for d in r["ports"]] for way in _WAYS}
        doors[component] = (ports["ingress"], ports["egress"])
    job = ([], [53, 53, 6432])
    assert doors == {
        "service": (["http"], [53, 53, 6432, 6379, 8443, 8444]),
        "test": ([], [53, 53, "http"]),
        **dict.fromkeys(("training", "judge-canary", "purge", "backup", "migrate"), job),
    }
    caller = _named(manifests, "NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert _matches(caller[1]["podSelector"], pods["test"]["metadata"]["labels"])


_WAYS = ("ingress", "egress")


def test_with_sqlite_no_job_has_a_network(render: Render) -> None:
    """What they need lies on the volume."""
    policies = [m["spec"] for m in render(WITH_ALL_JOBS) if m["kind"] == "NetworkPolicy"]
    for pod in _job_pods(render(WITH_ALL_JOBS)).values():
        rules = [p for p in policies if _matches(p["podSelector"], pod["metadata"]["labels"])]
        assert [p["policyTypes"] for p in rules] == [["Ingress", "Egress"]]
        assert not any(p.get("egress") or p.get("ingress") for p in rules)


@pytest.mark.parametrize("values", [WITH_ALL_JOBS, WITH_ALL_JOBS_SHARED], ids=["sqlite", "postgresql"])
def test_the_programs_know_the_commands_of_the_jobs(render: Render, values: Manifest) -> None:
    """Each job's arguments are read by the real parser of its image's program."""
    pods = _job_pods(render(values))
    assert pods.keys() == {"training", "judge-canary", "purge", "backup"}
    for component, pod in pods.items():
        (container,) = pod["spec"]["containers"]
        is_training = container["image"].startswith("rejoinder/training")
        assert is_training == (component in ("training", "judge-canary"))
        parser = (training_cli if is_training else service_cli)._parser()
        options = vars(parser.parse_args(container["args"]))
        if component == "judge-canary":
            assert options["apply"] is False
        if component == "backup":
            is_dumped = values is WITH_ALL_JOBS_SHARED
            assert (options["keep"], options["database_dump"] is not None) == (30, is_dumped)
            assert ("initContainers" in pod["spec"]) == is_dumped


def test_postgresql_is_migrated_before_any_pod_changes(render: Render) -> None:
    """A hook that needs nothing which the release itself makes: no account, no claim, no secret of its own."""
    (job,) = (m for m in render(WITH_ALL_JOBS_SHARED) if m["kind"] == "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["serviceAccountName"] == "default" and pod["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    service_cli._parser().parse_args(container["args"])
    (address,) = container["env"]
    assert (address["name"], address["valueFrom"]["secretKeyRef"]["name"]) == ("SERVICE_DATABASE_URL", "postgres")
    for values in (WITH_ALL_JOBS, {**SHARED, "migration": {"enabled": False}}):
        assert "Job" not in {m["kind"] for m in render(values)}


def test_pg_dump_gets_a_url_that_it_knows(render: Render, tmp_path: Path) -> None:
    """SQLAlchemy's driver name goes; what is run is the container's own command."""
    (dump,) = _job_pods(render(WITH_ALL_JOBS_SHARED))["backup"]["spec"]["initContainers"]
    (tmp_path / "pg_dump").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    (tmp_path / "pg_dump").chmod(0o755)
    for url in ("postgresql+psycopg://u:p+q@db:5432/x", "postgresql://u:p+q@db:5432/x"):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SERVICE_DATABASE_URL": url}
        done = subprocess.run(dump["command"], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "postgresql://u:p+q@db:5432/x"


def test_what_helm_test_runs_passes_on_a_good_service_and_fails_on_none(render: Render, tmp_path: Path) -> None:
    """The script in the pod's manifest, run as the pod would."""
    (container,) = _named(render(), "Pod", "shop-rejoinder-test")["spec"]["containers"]
    assert container["command"][:2] == ["python", "-c"]
    assert {entry["name"] for entry in container["env"]} == {"SERVICE_URL", "API_KEY"}
    command = [sys.executable, *container["command"][1:]]
    with run_fake_service(tmp_path, FakeEngines(say_hello)) as service:
        good = {**os.environ, "SERVICE_URL": service.url, "API_KEY": "none needed"}
        done = subprocess.run(command, env=good, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith("[DONE]")
    with run_fake_service(tmp_path / "2", FakeEngines(say_hello), default_bundle=tmp_path / "no") as service:
        bad = {**os.environ, "SERVICE_URL": service.url, "API_KEY": "none needed"}
        assert subprocess.run(command, env=bad, capture_output=True, check=False).returncode != 0
