"""PostgreSQL by CloudNativePG, made by the chart: who gets its address, who reaches it, what outlives the release."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.records.database import _parse_url
from tests.chart.api_server import api_server
from tests.chart.conftest import CHART, Helm, Render
from tests.chart.value_sets import BUNDLED_POSTGRES, KEDA

Manifest = dict[str, Any]
NAME = "shop-rejoinder-postgres"
SECRET = {"secretKeyRef": {"name": f"{NAME}-app", "key": "uri"}}
# As the operator writes it (pkg/specs/secrets.go of CloudNativePG).
URI = f"postgresql://rejoinder:Aa0Bb1@{NAME}-rw.bots:5432/rejoinder"
_SCHEMA = Path(__file__).with_name("crd_schemas") / "Cluster.json"
_OF_POSTGRES = {"cnpg.io/cluster": NAME, "app.kubernetes.io/name": "postgresql", "app.kubernetes.io/instance": NAME}
_OF_THE_OPERATOR = {"app.kubernetes.io/name": "cloudnative-pg"}

RenderBeside = Callable[..., list[Manifest]]


@pytest.fixture
def render_beside(helm: Helm, render: Render, values_file: Callable[[Manifest], str], tmp_path: Path) -> RenderBeside:
    """The manifests of values in a Kubernetes cluster that holds some objects already, as an upgrade finds it."""

    def run(values: Manifest, *objects: Manifest) -> list[Manifest]:
        with api_server(render(values), objects, tmp_path) as kubeconfig:
            where = ("--namespace", "bots", "--kubeconfig", kubeconfig)
            asking = ("--dry-run=server", "--disable-openapi-validation", "--values", values_file(values))
            done = helm("template", "shop", str(CHART), *where, *asking)
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]

    return run


def _secret(name: str, **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "bots"}, "data": data}


def _pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Component and template of the service's pod, of each job's and of each hook's."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template


def _addresses(template: Manifest) -> Iterator[Manifest]:
    for container in [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]:
        yield {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_every_pod_that_keeps_or_reads_records_gets_the_operators_address(render: Render) -> None:
    """The service, jobs and the dump; over TLS only."""
    pods = dict(_pods(render(BUNDLED_POSTGRES)))
    assert pods.keys() == {"service", "training", "judge-canary", "purge", "backup"}
    for component, template in pods.items():
        for variables in _addresses(template):
            assert variables["SERVICE_DATABASE_URL"] == SECRET, component
            assert variables["PGSSLMODE"] == "require", component


def test_the_service_understands_the_operators_address() -> None:
    """CloudNativePG names no driver of SQLAlchemy's."""
    parsed = _parse_url(URI)
    assert (parsed.drivername, parsed.host, parsed.database) == ("postgresql+psycopg", f"{NAME}-rw.bots", "rejoinder")


def test_a_secret_of_the_operators_own_making_is_taken_as_it_is(render: Render) -> None:
    """`database.urlKey` names the key, so that nobody has to copy a password."""
    service = dict(_pods(render(KEDA)))["service"]
    (variables,) = _addresses(service)
    assert variables["SERVICE_DATABASE_URL"] == {"secretKeyRef": {"name": "team-db-app", "key": "uri"}}
    assert "PGSSLMODE" not in variables


@pytest.mark.parametrize(("instances", "has_budget"), [(1, False), (2, True)])
def test_a_server_alone_never_holds_up_a_drain(render: Render, instances: int, has_budget: bool) -> None:
    """Its budget would allow no eviction, and guard nothing."""
    values = {"postgresql": {"cluster": {"enabled": True, "instances": instances}}}
    (cluster,) = (manifest["spec"] for manifest in render(values) if manifest["kind"] == "Cluster")
    assert (cluster["instances"], cluster["enablePDB"]) == (instances, has_budget)


def test_what_people_said_outlives_the_release_in_postgresql_too(render: Render) -> None:
    """The operator deletes the volumes with the Cluster, so Helm must not delete that."""
    for is_kept in (True, False):
        values = {**BUNDLED_POSTGRES, "persistence": {"accessMode": "ReadWriteMany", "keepOnUninstall": is_kept}}
        (cluster,) = (manifest for manifest in render(values) if manifest["kind"] == "Cluster")
        policy = cluster["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if is_kept else None)


def test_postgresql_is_reached_by_its_clients_its_like_and_the_operator_alone(render: Render) -> None:
    """Each pod of the release that has the address finds the door open on both sides; the test's pod does not."""
    manifests = render(BUNDLED_POSTGRES)
    policies = [manifest["spec"] for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
    (guard,) = (policy for policy in policies if _takes(policy["podSelector"], _OF_POSTGRES))
    assert guard["policyTypes"] == ["Ingress"]
    own = {"app.kubernetes.io/name": "rejoinder", "app.kubernetes.io/instance": "shop"}
    assert _doors(guard, {**own, "app.kubernetes.io/component": "test"}) == set()
    assert _doors(guard, _OF_POSTGRES) == _doors(guard, _OF_THE_OPERATOR, is_elsewhere=True) == {5432, 8000}
    assert _doors(guard, _OF_POSTGRES, is_elsewhere=True) == set()
    for component, template in _pods(manifests):
        labels = template["metadata"]["labels"]
        assert _doors(guard, labels) == {5432}, component
        ways = [rule for p in policies if _takes(p["podSelector"], labels) for rule in p.get("egress", [])]
        assert any(_leads_to_postgres(rule) for rule in ways), component


def _takes(selector: Manifest, labels: dict[str, str]) -> bool:
    listed = (labels.get(rule["key"]) in rule["values"] for rule in selector.get("matchExpressions", []))
    return selector.get("matchLabels", {}).items() <= labels.items() and all(listed)


def _doors(policy: Manifest, labels: dict[str, str], *, is_elsewhere: bool = False) -> set[int]:
    """Ports that a policy opens for a pod of the release's namespace, or of another one."""
    return {
        door["port"]
        for rule in policy["ingress"]
        for peer in rule["from"]
        if _takes(peer["podSelector"], labels) and (not is_elsewhere or "namespaceSelector" in peer)
        for door in rule["ports"]
    }


def _leads_to_postgres(rule: Manifest) -> bool:
    is_there = any(_takes(peer["podSelector"], _OF_POSTGRES) for peer in rule.get("to", []))
    return is_there and [door["port"] for door in rule["ports"]] == [5432]


def test_the_dump_is_made_by_the_servers_own_version(render: Render) -> None:
    """An older pg_dump refuses; so the image of the servers makes it."""
    (dump,) = dict(_pods(render(BUNDLED_POSTGRES)))["backup"]["spec"]["initContainers"]
    assert dump["image"] == BUNDLED_POSTGRES["postgresql"]["cluster"]["image"]


def test_a_made_cluster_is_migrated_by_the_hook_once_it_is_there(render_beside: RenderBeside) -> None:
    """At the first install the hook would wait for a secret that only the install makes: pods migrate then."""
    assert "migrate" not in dict(_pods(render_beside(BUNDLED_POSTGRES)))
    found = dict(_pods(render_beside(BUNDLED_POSTGRES, _secret(f"{NAME}-app", uri="eA=="))))
    (variables,) = _addresses(found["migrate"])
    assert variables["SERVICE_DATABASE_URL"] == SECRET


def test_made_keys_are_kept_on_an_upgrade(render_beside: RenderBeside) -> None:
    """People's feedback tokens stay good; what is missing is made."""
    old = _secret("shop-rejoinder", **{"api-key": "a2VwdA=="})
    # Without these marks Helm would not touch it.
    old["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
    old["metadata"]["annotations"] = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "bots"}
    (secret,) = (manifest for manifest in render_beside({}, old) if manifest["kind"] == "Secret")
    assert secret["data"]["api-key"] == "a2VwdA==" and len(secret["data"]["feedback-secret"]) >= 56


@pytest.mark.parametrize("part", ["instance", "imagename"])
def test_the_schema_of_the_cluster_knows_a_typing_error(render: Render, part: str) -> None:
    """It is what the chart's manifests are held against, so it has to refuse something."""
    (cluster,) = (manifest for manifest in render(BUNDLED_POSTGRES) if manifest["kind"] == "Cluster")
    schema = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError, match=part):
        jsonschema.validate({**cluster, "spec": {**cluster["spec"], part: 1}}, schema)


def test_the_notes_tell_how_postgresql_is_doing(helm: Helm, values_file: Callable[[Manifest], str]) -> None:
    """Pods wait for it, so the operator looks there first."""
    values = ("--namespace", "bots", "--values", values_file(BUNDLED_POSTGRES))
    done = helm("install", "shop", str(CHART), "--dry-run=client", *values)
    if "cluster unreachable" in done.stderr:
        pytest.skip("Helm 3 shows notes only with a cluster: `python tests/chart/fetch_tools.py` fetches Helm 4")
    notes = done.stdout.partition("NOTES:")[2]
    assert f"kubectl -n bots get cluster.postgresql.cnpg.io {NAME}" in notes
    assert "SQLite" not in notes
