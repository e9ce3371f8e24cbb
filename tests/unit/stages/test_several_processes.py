"""Two real processes that share a run give what one gives; without one of them nothing is published."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.stages.learning_workspace import make_config, make_workspace
from tests.unit.stages.shared_stages import CASES, run_stages
from training.cli import main
from training.config import load_config

ROOT = Path(__file__).parents[3]
NUM_ROWS = 110
"""Of which 66 are for training: five batches of 13 and a row that is left over."""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
ACCELERATE = (
    *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
    *("--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"),
    "--main_process_port=0",
)
"""`--multi_gpu` is what starts several processes; that there is no GPU does not matter to ours."""
BY_ACCELERATE = ("rloo", "kto")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reward model and every algorithm in two folders: trained by one process, and by two."""
    folders = {by: tmp_path_factory.mktemp(by) for by in ("one", "two")}
    for folder in folders.values():
        for name in ("reward_model", *CASES):
            make_workspace(folder / name, make_config(), num_rows=NUM_ROWS)
    run_stages(folders["one"], ["reward_model"])
    for folder in folders.values():
        for name in CASES:
            shutil.copytree(folders["one"] / "reward_model" / "reward_model", folder / name / "reward_model")
    run_stages(folders["one"], list(CASES))
    run_by(TORCHRUN, folders["two"], "reward_model", *CASES)
    return folders


def run_by(launcher: Sequence[str], folder: Path, *names: str) -> None:
    """Two processes, started by `launcher`, run the stages of these workspaces."""
    command = [*launcher, str(Path(__file__).with_name("shared_stages.py")), str(folder), *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def largest_difference(made: dict[str, Path], file: str) -> float:
    one, two = (load_file(made[by] / file) for by in ("one", "two"))
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


@pytest.mark.parametrize("name", sorted(CASES))
def test_two_processes_leave_the_weights_that_one_leaves(made: dict[str, Path], name: str) -> None:
    """After as many steps every weight of the policy is the same to 1e-5, and some did move."""
    assert largest_difference(made, f"{name}/policy/model.safetensors") < 1e-5
    base, policy = (load_file(made["two"] / name / part / "model.safetensors") for part in ("base", "policy"))
    assert max(float((base[key] - policy[key]).abs().max()) for key in base) > 1e-4


def test_two_processes_leave_the_reward_model_that_one_leaves(made: dict[str, Path]) -> None:
    """Its heads are the same to 1e-5, and so are the trunk's weights on average.

    Not each of them: Adam divides a gradient by its size, and a few gradients are all rounding.
    """
    assert largest_difference(made, "reward_model/reward_model/reward_head.safetensors") < 1e-5
    one, two = (load_file(made[by] / "reward_model/reward_model/model.safetensors") for by in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().mean()) for name in one) < 1e-5


def test_accelerate_launch_leaves_what_torchrun_leaves(made: dict[str, Path], tmp_path: Path) -> None:
    """Two processes by either: a policy gradient and KTO, the same weights to the last bit."""
    for name in BY_ACCELERATE:
        make_workspace(tmp_path / name, make_config(), num_rows=NUM_ROWS)
        shutil.copytree(made["one"] / "reward_model" / "reward_model", tmp_path / name / "reward_model")
    run_by(ACCELERATE, tmp_path, *BY_ACCELERATE)
    for name in BY_ACCELERATE:
        both = {"two": made["two"] / name, "accelerate": tmp_path / name}
        torchruns, accelerates = (load_file(path / "policy" / "model.safetensors") for path in both.values())
        assert all(torch.equal(torchruns[key], accelerates[key]) for key in torchruns)


def test_accelerate_on_cpu_is_told_apart_from_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its `--cpu --num_processes 2` starts one without MPI: the log says so, and what starts two."""
    run = ["run", "--config", str(ROOT / "training" / "configs" / "tiny.yaml"), "--workspace", str(tmp_path / "run")]
    run += ["--model-store", str(tmp_path / "models"), "--database-url", f"sqlite:///{tmp_path}/nowhere.db"]
    assert main(run) == 1 and "--multi_gpu" not in caplog.text
    for name, value in {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    assert main(run) == 1 and "--multi_gpu" in caplog.text


def test_the_configuration_for_many_processes_can_be_read() -> None:
    """And 64 of them find rows in each of its batches."""
    config = load_config(ROOT / "training" / "configs" / "large.yaml")
    batches = (config.policy.prompts_per_step * config.policy.samples_per_prompt, config.policy.batch_size)
    assert min(*batches, config.reward.batch_size) >= 64


def test_a_batch_is_not_shared_by_more_processes_than_it_has_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two real ones, of which neither gets half a row: the error names both numbers."""
    program = (
        "from training import distributed\n"
        "with distributed.together(2):\n"
        "    assert distributed.gather([distributed.own_batch('ab')], 2) == [['a'], ['b']]\n"
        "    distributed.own_batch('a')\n"
    )
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [*TORCHRUN, str(tmp_path / "program.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "2 processes cannot share a batch of 1" in done.stderr
