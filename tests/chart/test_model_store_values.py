"""A model store on S3 in the chart: who is told of it, by what doors, and what is refused."""

from typing import Any

import pytest

from tests.chart.conftest import Render
from tests.chart.value_sets import STORED_IN_S3

_ROLE = "arn:aws:iam::123456789012:role/rejoinder"


def _variables(pod: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in pod["containers"][0]["env"]}


def _pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pods = {}
    for one in manifests:
        if one["kind"] == "Deployment":
            pods["service"] = one["spec"]["template"]["spec"]
        elif one["kind"] == "CronJob":
            pods[one["metadata"]["name"]] = one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pods


def test_service_and_jobs_are_told_of_the_same_store(render: Render) -> None:
    """Address, endpoint and credentials; copies lie where a pod may write, which is not the data volume."""
    pods = _pods(render(STORED_IN_S3))
    for name in ("service", "shop-rejoinder-train", "shop-rejoinder-judge"):
        pod = pods.pop(name)
        variables = _variables(pod)
        assert variables["MODEL_STORE"] == "s3://shop-models/rejoinder", name
        assert variables["AWS_ENDPOINT_URL_S3"] == "http://minio.storage.svc:9000"
        assert variables["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "minio", "key": "secret-access-key"}}
        assert (variables["MODEL_CACHE_DIR"], variables["MODEL_CACHE_MIB"]) == ("/tmp/model_cache", "1048576")
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts["tmp"] == "/tmp"
        assert name != "service" or variables["SERVICE_MODEL_STORE"] == variables["MODEL_STORE"]
    assert pods.keys() == {"shop-rejoinder-backup", "shop-rejoinder-purge"}
    assert "minio" not in str(pods), "who needs no model has no key to them"


def test_the_doors_to_the_store_are_open_for_service_and_jobs_and_no_wider(render: Render) -> None:
    """Its port, to where the operator says that it is."""
    given = STORED_IN_S3["networkPolicy"]
    door = {"ports": [{"port": 9000, "protocol": "TCP"}], "to": given["modelStoreAt"]}
    policies = {one["metadata"]["name"]: one["spec"] for one in render(STORED_IN_S3) if one["kind"] == "NetworkPolicy"}
    assert door in policies["shop-rejoinder"]["egress"]
    assert door in policies["shop-rejoinder-jobs"]["egress"]
    without = {one["metadata"]["name"]: one["spec"] for one in render() if one["kind"] == "NetworkPolicy"}
    assert "egress" not in without["shop-rejoinder"]
    assert "shop-rejoinder-jobs" not in without


def test_a_role_takes_the_place_of_keys(render: Render) -> None:
    """The service account's annotation gives it; no key is named then."""
    values = {
        "modelStore": {"url": "s3://shop-models"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": _ROLE}},
    }
    manifests = render(values)
    assert "AWS_ACCESS_KEY_ID" not in str(manifests)
    (account,) = (one for one in manifests if one["kind"] == "ServiceAccount")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == _ROLE


@pytest.mark.parametrize(
    "store",
    [
        {"url": "s3://bucket/../other"},
        {"url": "s3://bucket/models?x=1"},
        {"url": "s3://user:password@bucket"},
        {"url": "gs://bucket"},
        {"url": "/data/models"},
        {"endpoint": "minio:9000"},
        {"endpoint": "http://user@minio"},
        {"endpoint": "http://minio/path"},
        {"cacheMib": 0},
        {"secretKey": "in-the-values"},
    ],
    ids=str,
)
def test_what_the_service_would_refuse_is_refused_before(render: Render, store: dict[str, object]) -> None:
    """By the schema, with nothing installed."""
    with pytest.raises(AssertionError, match="modelStore"):
        render({"modelStore": store})
