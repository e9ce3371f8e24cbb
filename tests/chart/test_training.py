"""Runs of several processes: what the chart renders for them, and its own command, run by the real torchrun."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chart.conftest import Render
from tests.chart.value_sets import HIGHLY_AVAILABLE, TRAINED_BY_KUBEFLOW, TRAINED_TOGETHER
from tests.ports import free_port
from training import cli as training_cli

Manifest = dict[str, Any]
_KUBERNETES_VERSIONS = ("1.33", "1.37")
_PROBE = """
import os, sys
from pathlib import Path
import torch, torch.distributed as dist

dist.init_process_group("gloo")
ranks = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(ranks)
Path(sys.argv[1], f"rank{dist.get_rank()}").write_text(f"{ranks.item():.0f} of {os.environ['WORLD_SIZE']}")
dist.barrier()
dist.destroy_process_group()
sys.exit(int(sys.argv[2]))
"""
"""Stands in for training: joins the process group, says what it heard from the others, and ends as it is told to."""


def _found(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def _job(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = _found(manifests, "CronJob", "shop-rejoinder-train")["spec"]["jobTemplate"]["spec"]
    return spec


def test_processes_of_a_run_are_pods_of_an_indexed_job_that_find_one_another(render: Render) -> None:
    """As many as are asked for, each with a name of the headless service, and with doors to each other only."""
    manifests = render(TRAINED_TOGETHER)
    job = _job(manifests)
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 3, 3)
    pod = job["template"]
    assert pod["spec"]["restartPolicy"] == "Never"
    service = _found(manifests, "Service", pod["spec"]["subdomain"])["spec"]
    assert service["clusterIP"] == "None" and service["publishNotReadyAddresses"] is True
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    arguments = pod["spec"]["containers"][0]["args"]
    port = service["ports"][0]["port"]
    assert f"--rdzv-endpoint=$(JOB_NAME)-0.{pod['spec']['subdomain']}:{port}" in arguments
    policy = _found(manifests, "NetworkPolicy", "shop-rejoinder-training")["spec"]
    assert policy["podSelector"]["matchLabels"] == service["selector"]
    assert policy["ingress"] == [{"from": [{"podSelector": policy["podSelector"]}]}]
    assert policy["egress"] == [{"to": [{"podSelector": policy["podSelector"]}]}]


def test_a_try_that_fails_counts_once_for_each_of_its_processes(render: Render) -> None:
    """Two further tries of three pods are six failures; a refusal or divergence still ends the job at once."""
    job = _job(render(TRAINED_TOGETHER))
    assert job["backoffLimit"] == 6
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [3, 5]
    assert _job(render(HIGHLY_AVAILABLE))["backoffLimit"] == 2


def test_all_processes_and_tries_of_a_job_share_a_workspace_and_no_two_jobs_do(render: Render) -> None:
    """It goes by the job's name and identity, which are variables that the pod has."""
    for values in (TRAINED_TOGETHER, HIGHLY_AVAILABLE):
        (container,) = _job(render(values))["template"]["spec"]["containers"]
        program = container["args"][container["args"].index("run") :]
        workspace = vars(training_cli._parser().parse_args(program))["workspace"]
        assert workspace == Path("/data/runs/$(JOB_NAME)-$(JOB_UID)")
        told = [entry for entry in container["env"] if "fieldRef" in entry.get("valueFrom", {})]
        paths = {entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in told}
        assert paths == {
            "JOB_NAME": "metadata.labels['batch.kubernetes.io/job-name']",
            "JOB_UID": "metadata.labels['batch.kubernetes.io/controller-uid']",
        }


@pytest.mark.parametrize("exit_code", [0, 3])
def test_the_command_of_the_pods_joins_them_and_keeps_the_exit_code(
    render: Render, tmp_path: Path, exit_code: int
) -> None:
    """Two pods' worth of processes, run by the manifest's own command: each hears from both, and 3 stays 3."""
    values = {**TRAINED_TOGETHER, "training": {**TRAINED_TOGETHER["training"], "processes": 2}}
    (container,) = _job(render(values))["template"]["spec"]["containers"]
    (tmp_path / "probe.py").write_text(_PROBE, encoding="utf-8")
    options = container["args"][: container["args"].index("-m")]
    endpoint = f"--rdzv-endpoint=localhost:{free_port()}"
    options = [endpoint if option.startswith("--rdzv-endpoint=") else option for option in options]
    options = [option.replace("$(JOB_UID)", "of-this-test") for option in options]
    assert container["command"][:2] == ["python", "-c"]
    command = [sys.executable, "-c", container["command"][2], *options, "-m", "probe", str(tmp_path), str(exit_code)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    pods = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [pod.communicate(timeout=300)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [exit_code, exit_code], errors
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("rank*")} == {
        "rank0": "3 of 2",
        "rank1": "3 of 2",
    }


def test_a_train_job_takes_the_place_of_the_cron_job(render: Render) -> None:
    """Its runtime has the pod that the CronJob would have had, under the names that Kubeflow's controller looks for."""
    manifests = render(TRAINED_BY_KUBEFLOW)
    assert not any(m["metadata"]["name"] == "shop-rejoinder-train" and m["kind"] == "CronJob" for m in manifests)
    runtime = _found(manifests, "TrainingRuntime", "shop-rejoinder-train")["spec"]
    assert runtime["mlPolicy"] == {"numNodes": 2, "torch": {"numProcPerNode": 1}}
    train_job = _found(manifests, "TrainJob", "shop-rejoinder-train-1")["spec"]
    assert train_job["suspend"] is True
    reference = train_job["runtimeRef"]
    assert (reference["kind"], reference["name"]) == ("TrainingRuntime", "shop-rejoinder-train")
    (node,) = runtime["template"]["spec"]["replicatedJobs"]
    assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    (container,) = node["template"]["spec"]["template"]["spec"]["containers"]
    assert (node["name"], container["name"]) == ("node", "node")
    # torchrun's own options come by variables (PET_…), which the controller sets.
    assert container["args"][:3] == ["-m", "training", "run"]


@pytest.mark.parametrize("version", _KUBERNETES_VERSIONS)
def test_the_job_inside_the_runtime_is_valid_kubernetes(render: Render, version: str) -> None:
    """kubernetes-validate takes it as the Job that the controller will make of it."""
    kubernetes = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    runtime = _found(render(TRAINED_BY_KUBEFLOW), "TrainingRuntime", "shop-rejoinder-train")["spec"]
    (node,) = runtime["template"]["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}, "spec": node["template"]["spec"]}
    kubernetes.validate(job, version, strict=True)
