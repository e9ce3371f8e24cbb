"""Signed versions in the chart: the service knows public keys only, and one job alone the private one."""

from typing import Any

from tests.chart.conftest import Render

KEY = "ed25519:" + "A" * 43


def test_the_service_gets_public_keys_and_training_alone_the_private_one(render: Render) -> None:
    """The keys as a setting of the service, the secret as a file of the training job's container."""
    given = {
        "settings": {"trustedModelKeys": KEY},
        "training": {"signingKeySecret": "maker"},
        "judgeCanary": {"enabled": True},
    }
    manifests = render(given)
    holders = [manifest for manifest in manifests if "maker" in str(manifest)]
    assert [(one["kind"], one["metadata"]["name"]) for one in holders] == [("CronJob", "shop-rejoinder-train")]
    pod = holders[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    variables = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert variables["MODEL_SIGNING_KEY"] == f"{mounts['model-signing']}/key.pem"
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    service: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "SERVICE_TRUSTED_MODEL_KEYS", "value": KEY} in service["env"]


def test_without_them_nothing_is_signed_and_nothing_is_mounted(render: Render) -> None:
    """The control."""
    text = str(render())
    assert "MODEL_SIGNING_KEY" not in text and "model-signing" not in text
