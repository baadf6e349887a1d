"""Values that the chart is rendered with in its tests."""

from collections.abc import Mapping
from typing import Any

type Values = Mapping[str, Any]

_SHARDS = [
    {"host": "pg-0", "database": "noetl_0", "adminHost": "pg-0-direct"},
    {"host": "pg-1", "port": 6432, "database": "noetl_1", "adminPort": 5432},
]
_GIVEN = {
    "api-gateway": {"nats-password": "s1"},
    "orchestrator": {"nats-password": "s2", "postgres-password": "s3"},
    "outbox": {"nats-password": "s4", "postgres-password": "s5"},
    "projector": {"nats-password": "s6", "postgres-password": "s7"},
    "catalog": {
        "nats-password": "s8",
        "postgres-password": "s9",
        "encryption-key": "s10",
        "access-keys": "s11",
    },
    "worker-shared": {"nats-password": "s12"},
    "migrate": {"postgres-password": "s13"},
    "command-key": {"command-key": "s14"},
    "internal-api-token": {"internal-api-token": "s15"},
}

VALUE_SETS: dict[str, Values] = {
    "defaults": {},
    "keda_off": {
        "keda": {"enabled": False},
        "secrets": {"create": True, "values": _GIVEN},
        "ingress": {"enabled": True, "host": "noetl.example.org", "tlsSecret": "edge-tls"},
        "workersUrl": "https://workers.example.org:8443",
        "image": {"digests": {"worker": f"sha256:{'0a' * 32}"}},
    },
    "shards_2": {
        "postgres": {"host": "pg-cluster", "caSecret": "pg-ca", "shards": _SHARDS},
        "nats": {
            "url": "tls://nats-0.nats:4222,tls://nats-1.nats:4223",
            "monitoringEndpoint": "nats-headless:7222",
            "streamReplicas": 3,
            "tls": {"existingSecret": "nats-tls", "clientCertificate": True},
        },
        "autoscaling": {"enabled": False},
        "secrets": {"existing": {"orchestrator": "decider", "migrate": "owner"}},
        "networkPolicy": {"natsPodLabels": {"app.kubernetes.io/name": "nats"}},
    },
    "extra_pools": {
        "secrets": {"asFiles": True},
        "workerPool": {"enabled": True},
        "server": {"env": {"NOETL_LEGACY_URL": "http://noetl-server-rust.old:8082"}},
        "worker": {"env": {"NOETL_EGRESS_DENY": "10.0.0.0/8"}},
        "pools": {
            "gpu_a100": {
                "maxConcurrent": 2,
                "graceSeconds": 7200,
                "autoscaling": {"minReplicas": 0, "maxReplicas": 4},
                "resources": {"limits": {"memory": "32Gi", "nvidia.com/gpu": 1}},
                "nodeSelector": {"accelerator": "a100"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "secretEnv": {"AWS_SESSION_TOKEN": {"secret": "lake", "key": "token"}},
            },
            "jobs": {"serviceAccount": "job-runner", "autoscaling": {"enabled": False}},
            "boxes": {"containers": {"namespace": "boxes"}, "autoscaling": {"enabled": False}},
            "orders": {
                "image": "registry.example.org/team/worker@sha256:" + "1b" * 32,
                "replicas": 2,
                "autoscaling": {"enabled": False},
                "env": {
                    "WORKER_MODE": "subscription",
                    "NOETL_SUBSCRIPTION_PATH": "sales/orders",
                    "NOETL_SUBSCRIPTION_SPOOL_DIR": "/spool",
                },
                "volumes": [{"name": "spool", "emptyDir": {"sizeLimit": "1Gi"}}],
                "volumeMounts": [{"name": "spool", "mountPath": "/spool"}],
            },
        },
        "networkPolicy": {
            "edgeFrom": [{"podSelector": {"matchLabels": {"app": "gateway"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "legacyTo": [{"namespaceSelector": {"matchLabels": {"name": "old"}}}],
            "egress": {"catalog": [{"ports": [{"port": 443, "protocol": "TCP"}]}]},
        },
    },
    "older_release": {"worker": {"replicas": 3}},
}

DEFAULTS_OF: dict[str, str] = {
    # What `--reuse-values` keeps of a release whose chart knew little: blocks without their newer
    # keys, and others not at all.
    "older_release": """
image: {repository: registry.example.org/noetl, tag: v0.0.9}
nats: {url: "nats://broker:4222"}
postgres: {host: database, port: 5432}
server: {replicas: 2, resources: {requests: {cpu: 100m}}}
worker: {replicas: 1, maxConcurrent: 8, autoscaling: {enabled: true, maxReplicas: 5}}
service: {port: 8082}
""",
}
