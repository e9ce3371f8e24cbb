"""The pods of a shared learning run, run here: the command, arguments and variables that the chart renders for them.

What a cluster would do is done by hand: variables and secrets are filled in, the headless service's name is this
machine, the shared volume a folder. Everything else is the manifest's, and the training is real.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store.backends.protocol import RunOutcome
from model_store.contract.tokenizer import Tokenizer
from model_store.signing import SigningKey, TrustedKeys
from tests.chart.conftest import Render
from tests.chart.value_sets import TRAINED_BY_KUBEFLOW, TRAINED_TOGETHER
from tests.ports import free_port
from tests.unit.stages.feedback_workspace import (
    local_store,
    make_config,
    make_database,
    publish_tiny_version,
    rated_rows,
)
from tests.unit.stages.test_evaluate_to_publish import LENIENT

_ROOT = Path(__file__).resolve().parents[2]
_JOB, _UID = "shop-rejoinder-train-29", "0c2f9a7e-1111-4222-8333-444455556666"
_SECONDS = 540
_TRAINING = {"processes": 2, "config": "/data/learn.yaml", "signingKeySecret": "signing", "extraArgs": ["--json"]}


class Cluster:
    """What a cluster would lend a pod: volumes that are folders, secrets, and a name for the first pod."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.mounts = {"/data": folder / "data", "/tmp": folder / "tmp", "/etc/model-signing": folder / "signing"}
        self.secrets = {("postgres", "url"): database_url}
        self.port = free_port()
        for path in self.mounts.values():
            path.mkdir(exist_ok=True)

    def start(self, pod: dict[str, Any], more: dict[str, str]) -> "subprocess.Popen[str]":
        """One pod's container; `more` are variables that a controller would add to the manifest's."""
        (container,) = pod["spec"]["containers"]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == self.mounts.keys()
        labels = {"job-name": _JOB, "controller-uid": _UID}
        variables = {entry["name"]: self._value(entry, labels) for entry in container["env"]}
        command = [self._here(_expand(part, variables)) for part in (*container["command"], *container["args"])]
        assert command[0] == "python"
        own = {name: self._here(value) for name, value in variables.items()}
        image = {"PATH": os.environ["PATH"], "HOME": str(self.mounts["/tmp"]), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, *command[1:]],
            cwd=_ROOT,
            env={**image, **own, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _value(self, entry: dict[str, Any], labels: dict[str, str]) -> str:
        source = entry.get("valueFrom")
        if source is None:
            return str(entry["value"])
        if "secretKeyRef" in source:
            return self.secrets[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
        found = re.fullmatch(r"metadata\.labels\['batch\.kubernetes\.io/(.*)'\]", source["fieldRef"]["fieldPath"])
        assert found, source
        return labels[found[1]]

    def _here(self, text: str) -> str:
        text = text.replace(f"{_JOB}-0.shop-rejoinder-train:29500", f"127.0.0.1:{self.port}")
        mounts = "|".join(map(re.escape, self.mounts))
        return re.sub(rf"(?<![\w/])({mounts})(?=/|$)", lambda found: str(self.mounts[found[1]]), text)


def _expand(text: str, variables: dict[str, str]) -> str:
    """As the kubelet fills in `$(NAME)`."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], text)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Whose volume has a store with one version, a signing key, a configuration for half a minute, and ratings."""
    cluster = Cluster(tmp_path, "sqlite:///no-database-yet")
    data = cluster.mounts["/data"]
    publish_tiny_version(local_store(data / "models"), tmp_path / "made")
    SigningKey.create(cluster.mounts["/etc/model-signing"] / "key.pem")
    rows = rated_rows(Tokenizer.load(tmp_path / "made" / "tokenizer.json"), 120)
    # PostgreSQL in earnest; training reads the same views of SQLite, and what is tried here is how it is told where.
    cluster.secrets["postgres", "url"] = make_database(tmp_path / "ratings.db", rows)
    policy = {"num_steps": 4, "prompts_per_step": 4, "max_completion_tokens": 8, "max_kl": 1000.0, "lr": 1e-6}
    gate = {**LENIENT, "max_kl": 1000.0, "max_perplexity_ratio": 10.0, "min_length_ratio": 0.01}
    gate |= {"max_length_ratio": 100.0, "min_distinct2_ratio": 0.0, "max_extra_delicate_failures": 1000}
    config = make_config(gate=gate, policy=policy, reward={"num_epochs": 1}, num_threads=1)
    (data / "learn.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return cluster


def _indexed_pods(render: Render) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The pod of the CronJob's indexed Job, and what Kubernetes adds for each index."""
    values = {**TRAINED_TOGETHER, "training": {**TRAINED_TOGETHER["training"], **_TRAINING}}
    (job,) = (m for m in render(values) if m["kind"] == "CronJob" and m["metadata"]["name"].endswith("-train"))
    spec = job["spec"]["jobTemplate"]["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", 2)
    return spec["template"], [{"JOB_COMPLETION_INDEX": str(index)} for index in range(2)]


def _kubeflow_pods(render: Render) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The pod of Kubeflow's runtime, and what Trainer 2 adds for each node: torchrun's options, as variables."""
    values = {**TRAINED_BY_KUBEFLOW, "training": {**TRAINED_BY_KUBEFLOW["training"], **_TRAINING}}
    (runtime,) = (m for m in render(values) if m["kind"] == "TrainingRuntime")
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    policy = runtime["spec"]["mlPolicy"]
    told = {"PET_NNODES": str(policy["numNodes"]), "PET_NPROC_PER_NODE": str(policy["torch"]["numProcPerNode"])}
    told |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}
    return node["template"]["spec"]["template"], [{**told, "PET_NODE_RANK": str(index)} for index in range(2)]


@pytest.mark.parametrize("pods_of", [_indexed_pods, _kubeflow_pods], ids=["indexed job", "kubeflow"])
def test_the_pods_of_a_shared_run_learn_together_and_publish_once(
    render: Render,
    cluster: Cluster,
    pods_of: Callable[[Render], tuple[dict[str, Any], Sequence[dict[str, str]]]],
) -> None:
    """Started in no order, by what the chart says: one signed version is new and serves, and one process told of it."""
    store = local_store(cluster.mounts["/data"] / "models")
    before = {version.digest for version in store.versions()}
    pod, told = pods_of(render)
    processes = [cluster.start(pod, more) for more in reversed(told)]
    try:
        printed, logs = zip(*(process.communicate(timeout=_SECONDS) for process in processes), strict=True)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(log[-3000:] for log in logs)
    (spoken,) = filter(None, printed)
    assert json.loads(spoken)["publish"]["promoted"]
    (new,) = {version.digest for version in store.versions()} - before
    assert store.resolve("stable").digest == new
    key = SigningKey.load(cluster.mounts["/etc/model-signing"] / "key.pem")
    TrustedKeys.parse(key.public_key).check(new, store.signatures(new))
    report = store.last_run()
    assert report is not None and (report.outcome, report.num_in_a_row) == (RunOutcome.PUBLISHED, 1)
    assert [path.name for path in (cluster.mounts["/data"] / "runs").iterdir()] == [f"{_JOB}-{_UID}"]
