"""Values that the chart refuses, and what its message must name."""

import json
from typing import Any

WRONG_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"replicaCount": 2}, "PostgreSQL"),
    ({"replicaCount": 2, "database": {"existingSecret": "pg"}}, "ReadWriteMany"),
    ({"replicaCount": 0}, "replicaCount"),
    ({"replicas": 1}, "replicas"),
    ({"settings": {"numSlotz": 4}}, "numSlotz"),
    ({"settings": {"numSlots": 257}}, "settings/numSlots"),
    ({"settings": {"maxWaitSeconds": 0}}, "settings/maxWaitSeconds"),
    ({"service": {"port": "80"}}, "service/port"),
    ({"facts": {"SLOGAN": "Buy"}}, "SLOGAN"),
    ({"knowledge": {"../facts.yaml": "x"}}, "facts.yaml"),
    ({"facts": {"BRAND": "<b>Loom</b>"}}, "facts/BRAND"),
    ({"image": {"digest": "sha256:abc"}}, "image/digest"),
    ({"training": {"schedule": "every night"}}, "training/schedule"),
    ({"training": {"processes": 2}}, "PostgreSQL"),
    ({"training": {"processes": 2}, "database": {"existingSecret": "pg"}}, "ReadWriteMany"),
    ({"persistence": {"accessMode": "ReadWriteOncePod"}}, "persistence/accessMode"),
    ({"resources": {"limits": {"memory": "1 GB"}}}, "resources/limits/memory"),
    ({"podLabels": {"app.kubernetes.io/name": "other"}}, "app.kubernetes.io/name"),
    ({"autoscaling": {"enabled": True}}, "PostgreSQL"),
    ({"postgresql": {"cluster": {"enabled": True}}, "database": {"existingSecret": "pg"}}, "not beside postgresql"),
    ({"postgresql": {"cluster": {"enabled": True}}, "replicaCount": 2}, "ReadWriteMany"),
    ({"postgresql": {"cluster": {"instances": 0}}}, "cluster/instances"),
    ({"postgresql": {"cluster": {"image": "postgresql:latest"}}}, "cluster/image"),
    ({"autoscaling": {"keda": {"enabled": True}}}, "autoscaling/enabled"),
    ({"ingress": {"enabled": True}}, "ingress/hosts"),
    ({"httpRoute": {"enabled": True}}, "httpRoute/parentRefs"),
    ({"backup": {"enabled": True}}, "claim of a volume"),
    ({"oidc": {"issuer": "https://id.example"}}, "oidc/existingSecret"),
    ({"oidc": {"roles": {"leads": {"tenant": "default", "scopes": ["chat"]}}}}, "oidc/roles/leads/scopes"),
    ({"networkPolicy": {"from": [{"podselector": {}}]}}, "podselector"),
    ({"monitoring": {"prometheusRule": {"thresholds": {"errorShare": 2}}}}, "thresholds/errorShare"),
]


def ids_of_wrong_values(value: object) -> str:
    """A test's name for one of these."""
    return value if isinstance(value, str) else json.dumps(value)
