"""Sets of values that operators would use; every test that holds for all manifests runs over them."""

from typing import Any

MINIMAL: dict[str, Any] = {}
HIGHLY_AVAILABLE: dict[str, Any] = {
    "replicaCount": 3,
    "database": {"existingSecret": "postgres"},
    "rateLimits": {"existingSecret": "valkey"},
    "handovers": {"existingSecret": "desk"},
    "persistence": {"accessMode": "ReadWriteMany", "storageClass": "nfs", "size": "20Gi"},
    "training": {"suspend": False, "timeZone": "Europe/Berlin", "schedule": "0 2 * * 1-5"},
}
AIR_GAPPED: dict[str, Any] = {
    "image": {"repository": "registry.internal:5000/rejoinder/service", "digest": f"sha256:{'a' * 64}"},
    "training": {"image": {"repository": "registry.internal:5000/rejoinder/training", "tag": "0.1.0-cpu"}},
    "imagePullSecrets": [{"name": "registry"}],
}
OWN_OBJECTS: dict[str, Any] = {
    "auth": {"existingSecret": "keys"},
    "persistence": {"existingClaim": "disk"},
    "serviceAccount": {"create": False},
    "training": {"enabled": False},
}
PLACED: dict[str, Any] = {
    "fullnameOverride": "desk",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "bots", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "arch", "operator": "In", "values": ["amd64"]}]}]
            }
        }
    },
    "podLabels": {"team": "care"},
    "podAnnotations": {"note": "yes: quoted"},
    "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"lb": "internal"}},
    "serviceAccount": {"name": "bot", "annotations": {"cloud": "role"}},
    "training": {
        "extraArgs": ["--workspace", "/data/runs/night run"],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "bots", "operator": "Exists"}],
    },
}
SHOP: dict[str, Any] = {
    "facts": {"BRAND": 'Lumen & Loom: "fine" #1', "SUPPORT_HOURS": {"en": "9 to 5", "zh": "周一至周五 9:00–18:00"}},
    "entityPatterns": [{"type": "ORDER_ID", "regex": "LL-\\d{6}"}],
    "planRules": {
        "forbid": ["gift_card"],
        "hand_over": ["human_agent", "legal_threat"],
        "pin": [{"pattern": "双十一", "plan": "voucher_problem"}],
        "article": {"eagerness": 0.5, "wording": {"en": "We say: <ARTICLE>", "zh": "说明：<ARTICLE>"}},
    },
    "safetyRules": [
        {"rule": "legal_threat", "is_on": False},
        {"rule": "recall", "patterns": ["kettle"], "replies": {"en": "Ask <SUPPORT_PHONE>.", "zh": "请致电。"}},
    ],
    "knowledge": {
        "repairs.md": "---\nkeywords: [zip]\n---\n# Repairs\n\nWe mend: “zips”, {{ bags }}, 15 € each.\n",
        "xiu.md": "# 维修\n\n我们修拉链。",
    },
    "settings": {"maxBodyBytes": 16_777_216, "pollSeconds": 0.5, "drainSeconds": 90.5, "logLevel": "debug"},
}
SHARED: dict[str, Any] = {
    "database": {"existingSecret": "postgres"},
    "persistence": {"accessMode": "ReadWriteMany"},
}
AUTOSCALED: dict[str, Any] = {
    **SHARED,
    "autoscaling": {"enabled": True, "maxReplicas": 30, "targetWaitingRequests": 4},
    "topologySpread": {"whenUnsatisfiable": "DoNotSchedule"},
    "podDisruptionBudget": {"maxUnavailable": 2},
}
KEDA: dict[str, Any] = {
    **SHARED,
    "database": {"existingSecret": "team-db-app", "urlKey": "uri"},
    "autoscaling": {"enabled": True, "minReplicas": 3, "targetWaitingRequests": 2, "keda": {"enabled": True}},
    "monitoring": {"prometheusRule": {"job": "bots/rejoinder"}},
}
MONITORED: dict[str, Any] = {
    "training": {"suspend": False},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True, "labels": {"folder": "bots"}},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbookBaseUrl": "https://git.example/rejoinder/docs/runbooks/",
        },
    },
}
BEHIND_AN_INGRESS: dict[str, Any] = {
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["chat.shop.example", "chat.shop.test"],
        "tlsSecret": "chat-certificate",
        "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
    },
    "publicPaths": [{"path": "/v1", "pathType": "Prefix"}],
}
BEHIND_A_GATEWAY: dict[str, Any] = {
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["chat.shop.example"],
        "annotations": {"note": "kept"},
    },
}
WITH_ALL_JOBS: dict[str, Any] = {
    "judgeCanary": {"enabled": True, "apply": False},
    "purge": {"enabled": True},
    "backup": {"enabled": True, "existingClaim": "backups", "keep": 30},
    "settings": {"retentionDays": 30},
    "imagePullSecrets": [{"name": "registry"}],
    "training": {"timeZone": "Europe/Berlin", "nodeSelector": {"disk": "ssd"}},
}
WITH_ALL_JOBS_SHARED: dict[str, Any] = {**WITH_ALL_JOBS, **SHARED}
TRAINED_TOGETHER: dict[str, Any] = {
    **SHARED,
    "training": {"processes": 3, "suspend": False, "signingKeySecret": "signing", "extraArgs": ["--json"]},
}
TRAINED_BY_KUBEFLOW: dict[str, Any] = {
    **SHARED,
    "training": {"processes": 2, "trainJob": {"enabled": True}, "tolerations": [{"key": "bots", "operator": "Exists"}]},
}
BUNDLED_POSTGRES: dict[str, Any] = {
    **WITH_ALL_JOBS,
    "replicaCount": 2,
    "persistence": {"accessMode": "ReadWriteMany"},
    "postgresql": {
        "cluster": {
            "enabled": True,
            "instances": 3,
            "image": "registry.internal:5000/cnpg/postgresql:17.9-standard-bookworm",
            "size": "40Gi",
            "storageClass": "fast",
        }
    },
}
STORED_IN_S3: dict[str, Any] = {
    **WITH_ALL_JOBS,
    "modelStore": {
        "url": "s3://shop-models/rejoinder",
        "endpoint": "http://minio.storage.svc:9000",
        "existingSecret": "minio",
        "cacheMib": 1_048_576,
    },
    "networkPolicy": {
        "modelStorePort": 9000,
        "modelStoreAt": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "storage"}}}],
    },
}
SHUT_OFF: dict[str, Any] = {
    **SHARED,
    "rateLimits": {"existingSecret": "valkey"},
    "handovers": {"existingSecret": "desk"},
    "oidc": {
        "issuer": "https://id.shop.example/realms/shop",
        "clientId": "rejoinder",
        "existingSecret": "sign-in",
        "origin": "https://chat.shop.example",
        "claim": "realm_access.roles",
        "roles": {
            'Shop: "leads"': {"tenant": "default", "scopes": ["review", "admin"]},
            "clerks": {"tenant": "default", "scopes": ["review"]},
        },
    },
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "databasePort": 6432,
        "backendsAt": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        "handoversPort": 8443,
        "handoversAt": [{"ipBlock": {"cidr": "10.2.0.0/16"}}],
        "oidcPort": 8444,
        "oidcAt": [{"ipBlock": {"cidr": "10.3.0.0/16"}}],
    },
}
OPEN: dict[str, Any] = {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}}

VALUE_SETS = {
    "minimal": MINIMAL,
    "highly-available": HIGHLY_AVAILABLE,
    "air-gapped": AIR_GAPPED,
    "own-objects": OWN_OBJECTS,
    "placed": PLACED,
    "shop": SHOP,
    "autoscaled": AUTOSCALED,
    "keda": KEDA,
    "monitored": MONITORED,
    "behind-an-ingress": BEHIND_AN_INGRESS,
    "behind-a-gateway": BEHIND_A_GATEWAY,
    "with-all-jobs": WITH_ALL_JOBS,
    "with-all-jobs-shared": WITH_ALL_JOBS_SHARED,
    "trained-together": TRAINED_TOGETHER,
    "trained-by-kubeflow": TRAINED_BY_KUBEFLOW,
    "bundled-postgres": BUNDLED_POSTGRES,
    "stored-in-s3": STORED_IN_S3,
    "shut-off": SHUT_OFF,
    "open": OPEN,
}
