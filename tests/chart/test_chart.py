"""The chart, linted and rendered by the real Helm. What it looks up in a cluster is in test_postgres.py."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from model_store.contract.entities import compile_operator_pattern
from model_store.contract.facts import FactSheet
from model_store.contract.placeholders import ENTITY_TYPES, FACT_NAMES
from model_store.contract.safety.rules_file import load_safety_rules
from service.chat.knowledge.help_articles import HelpArticles
from service.chat.masking import load_entity_patterns
from service.chat.plan_rules import PlanChoice, PlanRules
from service.settings import Settings, check_bind
from service.sign_in_settings import StaffRole
from tests.chart.conftest import CHART, Helm, Render
from tests.chart.value_sets import HIGHLY_AVAILABLE, OWN_OBJECTS, PLACED, SHOP, VALUE_SETS
from tests.chart.wrong_values import WRONG_VALUES, ids_of_wrong_values

_KUBERNETES_VERSIONS = ("1.33", "1.37")
_WRITE_BACK_SECONDS = 3
_CRD_SCHEMAS = Path(__file__).with_name("crd_schemas")


def _one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (manifest,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return manifest


def _pod_templates(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    templates = [_one(manifests, "Deployment")["spec"]["template"]]
    jobs = [manifest for manifest in manifests if manifest["kind"] == "CronJob"]
    runtimes = [m["spec"]["template"]["spec"]["replicatedJobs"] for m in manifests if m["kind"] == "TrainingRuntime"]
    templates += [job["template"]["spec"]["template"] for runtime in runtimes for job in runtime]
    hooks = [manifest["spec"]["template"] for manifest in manifests if manifest["kind"] == "Job"]
    tests = [manifest for manifest in manifests if manifest["kind"] == "Pod"]
    return templates + [job["spec"]["jobTemplate"]["spec"]["template"] for job in jobs] + hooks + tests


def _service_env(manifests: list[dict[str, Any]]) -> dict[str, str]:
    """The container's variables; values from secrets read as a text of their kind that is long enough."""
    (container,) = _one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    secrets = {
        "SERVICE_HANDOVER_WEBHOOK_URL": "https://desk.example/hook",
        "SERVICE_HANDOVER_WEBHOOK_SECRET": "whsec_a2tra2tra2tra2tra2tra2tra2tra2tr",
    }
    other = "redis://from-a-secret-0123456789"
    return {entry["name"]: entry.get("value", secrets.get(entry["name"], other)) for entry in container["env"]}


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_the_chart_lints_without_a_warning(
    helm: Helm, values_file: Callable[[dict[str, Any]], str], values: dict[str, Any]
) -> None:
    """`helm lint --strict` passes."""
    done = helm("lint", "--strict", str(CHART), "--values", values_file(values))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", _KUBERNETES_VERSIONS)
@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_every_manifest_is_valid_kubernetes(render: Render, values: dict[str, Any], version: str) -> None:
    """kubernetes-validate finds no wrong type and no unknown field; of kinds that it does not know, their schema."""
    kubernetes = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for manifest in render(values):
        if (schema := _CRD_SCHEMAS / f"{manifest['kind']}.json").exists():
            jsonschema.validate(manifest, json.loads(schema.read_text(encoding="utf-8")))
        else:
            kubernetes.validate(manifest, version, strict=True)


@pytest.mark.parametrize(("values", "named"), WRONG_VALUES, ids=ids_of_wrong_values)
def test_wrong_values_are_refused_by_name(
    helm: Helm, values_file: Callable[[dict[str, Any]], str], values: dict[str, Any], named: str
) -> None:
    """The schema stops a wrong value before anything is rendered, and the message names it."""
    done = helm("template", "shop", str(CHART), "--values", values_file(values))
    assert done.returncode != 0
    assert "schema" in done.stderr
    # Helm 3 writes a place as service.port, Helm 4 as /service/port.
    assert named.replace(".", "/") in done.stderr.replace(".", "/")


def test_the_schema_closes_every_object_it_describes() -> None:
    """An object with listed properties takes no others, so that a typing error is never silently ignored."""

    def objects(node: Any) -> list[dict[str, Any]]:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        found = [node] if isinstance(node, dict) and node.get("type") == "object" and "properties" in node else []
        return found + [entry for child in children for entry in objects(child)]

    described = objects(json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")))
    assert len(described) > 10
    assert all(entry["additionalProperties"] is False for entry in described)


def test_every_value_has_a_comment_and_a_place_in_the_schema() -> None:
    """Each key of values.yaml is explained right above, or its block is, and the schema lists exactly the same keys."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    _assert_same_keys(yaml.safe_load(text), schema, "values")
    lines = text.splitlines()
    bare = []
    for number, line in enumerate(lines):
        above = lines[number - 1].strip()
        is_leaf = ":" in line and not line.strip().startswith(("#", "- ")) and not line.rstrip().endswith(":")
        in_commented_group = above.startswith("#") or above.endswith(("{}", "[]"))
        in_amounts = above.startswith(("requests", "limits", "cpu", "labels", "annotations", "nginx."))
        if is_leaf and not in_commented_group and not in_amounts:
            bare.append(line)
    assert bare == []


def _assert_same_keys(values: Any, schema: dict[str, Any], place: str) -> None:
    """Where the schema lists properties, values.yaml has the same ones; a $ref describes what operators fill in."""
    if not isinstance(values, dict) or "properties" not in schema:
        return
    assert values.keys() == schema["properties"].keys(), place
    for key, value in values.items():
        if value or isinstance(value, bool):
            _assert_same_keys(value, schema["properties"][key], f"{place}.{key}")


def test_settings_of_the_chart_are_those_of_the_service() -> None:
    """Every setting exists in the service, with the same default and the same bounds."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]["settings"]
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["settings"]
    for name, rule in schema["properties"].items():
        field = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        assert Settings.model_fields[field].default == defaults[name], name
        bounds = Settings.model_json_schema()["properties"][field]
        for keyword in ("minimum", "maximum", "exclusiveMinimum"):
            assert rule.get(keyword) == bounds.get(keyword), (name, keyword)


def test_facts_and_entity_types_of_the_schema_are_those_of_the_contract() -> None:
    """A fact that the bot knows can be set, and no other."""
    properties = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]
    assert properties["facts"]["propertyNames"]["enum"] == list(FACT_NAMES)
    assert properties["entityPatterns"]["items"]["properties"]["type"]["enum"] == list(ENTITY_TYPES)


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_the_service_takes_the_environment_of_its_pod(
    render: Render, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    """The real settings accept every variable, know every SERVICE_ name, and may listen on all addresses."""
    env = _service_env(render(values))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    check_bind(settings)
    assert settings.port == 8000
    assert settings.data_dir == Path("/data")
    for name, value in values.get("settings", {}).items():
        field = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        assert getattr(settings, field) == value
    fields = {f"SERVICE_{field.upper()}" for field in Settings.model_fields}
    assert {name for name in env if name.startswith("SERVICE_")} <= fields
    assert settings.has_sign_in is ("oidc" in values)
    roles = values.get("oidc", {}).get("roles", {})
    assert settings.staff_roles == {name: StaffRole.model_validate(role) for name, role in roles.items()}


def test_the_service_reads_the_facts_patterns_and_plan_rules_of_the_config_map(render: Render, tmp_path: Path) -> None:
    """What the operator wrote comes out of the service's own loaders unchanged."""
    data = _one(render(SHOP), "ConfigMap")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    facts = FactSheet.load(tmp_path / "facts.yaml")
    assert facts.value("BRAND", "zh") == SHOP["facts"]["BRAND"]
    assert facts.value("SUPPORT_HOURS", "zh") == "周一至周五 9:00–18:00"
    (pattern,) = load_entity_patterns(tmp_path / "entity_patterns.yaml")
    assert pattern.regex == compile_operator_pattern("ORDER_ID", r"LL-\d{6}").regex
    rules = PlanRules.load(tmp_path / "plan_rules.yaml")
    assert rules.opening_ids({"gift_card": 128, "thanks": 129}, None) == {129}
    assert rules.hands_over("legal_threat")
    names = [rule.name for rule in load_safety_rules(tmp_path / "safety_rules.yaml").rules]
    assert names[:2] == ["recall", "crisis"] and "legal_threat" not in names
    articles = HelpArticles.load(tmp_path, facts)
    passage = articles.find("can you mend a zip", "en")
    assert articles.num_passages == 2 and passage is not None
    assert passage.text == "We mend: “zips”, {{ bags }}, 15 € each."
    choice = PlanChoice("out_of_scope", (("out_of_scope", 0.9), ("help_article", 0.05)))
    told = rules.fixed_reply(choice, (), "en", passage)
    assert told is not None and told.text == "We say: <ARTICLE>"


def test_without_facts_the_bot_gets_an_empty_sheet(render: Render, tmp_path: Path) -> None:
    """No customer is told the sample shop's telephone number."""
    data = _one(render(), "ConfigMap")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert FactSheet.load(tmp_path / "facts.yaml").missing == FACT_NAMES
    assert load_entity_patterns(tmp_path / "entity_patterns.yaml") == ()
    assert HelpArticles.load(tmp_path, FactSheet({})).num_passages == 0


def test_other_facts_make_other_pods(render: Render) -> None:
    """Facts are read at start, so changing them has to restart the pods, and changing nothing must not."""

    def checksum(values: dict[str, Any]) -> str:
        metadata = _one(render(values), "Deployment")["spec"]["template"]["metadata"]
        return str(metadata["annotations"]["rejoinder/config-checksum"])

    assert checksum({}) == checksum({})
    for name in ("facts", "entityPatterns", "planRules", "safetyRules", "knowledge"):
        assert checksum({}) != checksum({name: SHOP[name]})


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_a_stopping_pod_has_time_for_its_streams(render: Render, values: dict[str, Any]) -> None:
    """The grace period covers the preStop sleep, the drain and the last bytes."""
    manifests = render(values)
    pod = _one(manifests, "Deployment")["spec"]["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = math.ceil(float(_service_env(manifests)["SERVICE_DRAIN_SECONDS"]))
    assert pod["terminationGracePeriodSeconds"] > sleep + drain + _WRITE_BACK_SECONDS


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_every_pod_meets_the_restricted_standard(render: Render, values: dict[str, Any]) -> None:
    """No root, no capabilities, no escalation, a fixed file system, no API-server token."""
    for template in _pod_templates(render(values)):
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_the_service_finds_its_pods_and_only_those(render: Render, values: dict[str, Any]) -> None:
    """The selector matches the service's pods and not those of training."""
    manifests = render(values)
    services = [m["spec"] for m in manifests if m["kind"] == "Service" and m["spec"].get("clusterIP") != "None"]
    (selector,) = (service["selector"].items() for service in services)
    service_pod, *training_pods = _pod_templates(manifests)
    assert selector <= service_pod["metadata"]["labels"].items()
    assert selector == _one(manifests, "Deployment")["spec"]["selector"]["matchLabels"].items()
    assert not any(selector <= pod["metadata"]["labels"].items() for pod in training_pods)


def test_probes_ask_the_routes_that_the_service_has(render: Render) -> None:
    """Life is asked of /livez, readiness of /readyz: a pod without a model is not restarted."""
    (container,) = _one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_sqlite_is_never_open_in_two_pods(render: Render) -> None:
    """With SQLite the old pod ends first; with PostgreSQL and a shared volume none is missed."""
    assert _one(render(), "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    rolling = _one(render(HIGHLY_AVAILABLE), "Deployment")["spec"]
    assert rolling["replicas"] == 3
    assert rolling["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_own_secret_claim_and_account_replace_the_made_ones(render: Render) -> None:
    """Nothing is made that the operator brings, and the pods use what is named."""
    manifests = render(OWN_OBJECTS)
    kinds = {manifest["kind"] for manifest in manifests}
    assert kinds == {"ConfigMap", "Service", "Deployment", "NetworkPolicy", "Pod"}
    pod = _one(manifests, "Deployment")["spec"]["template"]["spec"]
    secrets = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in pod["containers"][0]["env"]
        if "valueFrom" in entry
    }
    assert secrets == {
        "SERVICE_API_KEY": {"name": "keys", "key": "api-key"},
        "SERVICE_FEEDBACK_SECRET": {"name": "keys", "key": "feedback-secret"},
    }
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "disk"
    assert pod["serviceAccountName"] == "default"


def test_what_people_said_outlives_the_release(render: Render) -> None:
    """Volume and secret stay when the release is uninstalled, unless the operator says otherwise."""
    for is_kept in (True, False):
        manifests = render({"persistence": {"keepOnUninstall": is_kept}})
        for kind in ("PersistentVolumeClaim", "Secret"):
            policy = _one(manifests, kind)["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
            assert policy == ("keep" if is_kept else None), kind


def test_made_keys_are_long_and_different(render: Render) -> None:
    """Two secrets of one release, and of two, have nothing in common."""
    keys = [value for _ in range(2) for value in _one(render(), "Secret")["data"].values()]
    assert len(set(keys)) == 4
    assert min(map(len, keys)) >= 56


def test_training_runs_beside_the_service_and_does_not_retry_a_refusal(render: Render) -> None:
    """It shares volume and database with the service, and exit codes 3 (refused) and 5 (diverged) end the job."""
    manifests = render()
    job = _one(manifests, "CronJob")["spec"]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    service_pod = _one(manifests, "Deployment")["spec"]["template"]
    assert term["labelSelector"]["matchLabels"].items() <= service_pod["metadata"]["labels"].items()
    assert pod["volumes"][0] == service_pod["spec"]["volumes"][0]
    (rule,) = job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [3, 5])
    assert job["suspend"] is True


def test_training_goes_to_any_node_where_the_volume_allows_it(render: Render) -> None:
    """With PostgreSQL it gets the same database, and with a shared volume no place is asked for."""
    pod = _one(render(HIGHLY_AVAILABLE), "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "affinity" not in pod
    url = next(entry for entry in pod["containers"][0]["env"] if entry["name"] == "SERVICE_DATABASE_URL")
    assert url["valueFrom"]["secretKeyRef"] == {"name": "postgres", "key": "url"}


def test_arguments_of_training_stay_whole(render: Render) -> None:
    """An argument with a space in it arrives as one."""
    pod = _one(render(PLACED), "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][-2:] == ["--workspace", "/data/runs/night run"]


def test_a_digest_wins_over_a_tag(render: Render) -> None:
    """An image named by digest is the one that runs; without either, the chart's version."""
    assert _pod_templates(render())[0]["spec"]["containers"][0]["image"] == "rejoinder/service:0.1.0"
    pinned = {"image": {"tag": "9", "digest": f"sha256:{'b' * 64}"}}
    assert _pod_templates(render(pinned))[0]["spec"]["containers"][0]["image"] == f"rejoinder/service@sha256:{'b' * 64}"


@pytest.mark.parametrize("release", ["a" * 53, "rejoinder", "x"])
def test_names_fit_whatever_the_release_is_called(helm: Helm, release: str) -> None:
    """CronJob names leave room for the 11 characters that Kubernetes appends to them."""
    done = helm("template", release, str(CHART))
    assert done.returncode == 0, done.stderr
    manifests = list(yaml.safe_load_all(done.stdout))
    assert all(len(manifest["metadata"]["name"]) <= 52 for manifest in manifests)


def test_the_notes_tell_the_next_command(helm: Helm) -> None:
    """A dry-run install prints how to wait, how to get the key, how to ask, and that facts are missing."""
    done = helm("install", "shop", str(CHART), "--dry-run=client", "--namespace", "bots")
    if "cluster unreachable" in done.stderr:
        pytest.skip("Helm 3 shows notes only with a cluster: `python tests/chart/fetch_tools.py` fetches Helm 4")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    for command in (
        "kubectl -n bots rollout status deployment/shop-rejoinder",
        "kubectl -n bots get secret shop-rejoinder",
        "port-forward service/shop-rejoinder 8000:80",
        '"model": "rejoinder"',
        "create job --from=cronjob/shop-rejoinder-train",
        "no facts are set",
    ):
        assert command in notes
