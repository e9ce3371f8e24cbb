"""How many CPUs this process may use. onnxruntime counts the host's, also inside a container that has one."""

import math
import os
from pathlib import Path

MAX_ENGINES = 32
"""Of one service; more of them are better shared among several services."""
_CORES_OF_AN_ENGINE = 2


def num_usable_cpus(cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """The smaller of the CPU affinity and the cgroup's CPU quota (version 2 or 1), rounded up; at least 1."""
    num_affine = len(os.sched_getaffinity(0))
    quota = cpu_quota(cgroup_root, membership)
    return num_affine if quota is None else max(1, math.ceil(min(num_affine, quota)))


def cpu_quota(cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the cgroup grants, the smallest of its parents' where these grant less; None where nobody says."""
    quotas = map(_read_quota, _cgroup_directories(cgroup_root, membership))
    return min((quota for quota in quotas if quota is not None), default=None)


def num_affordable_engines(quota: float | None, num_threads: int) -> int:
    """One for every pair of cores of a quota, of which one is for the engine and one for the service beside it.

    1 without a quota: a large machine that runs much else is not to be filled because nobody has said no.
    """
    if quota is None:
        return 1
    num_cores = min(int(quota), len(os.sched_getaffinity(0)))
    return min(max(1, num_cores // max(_CORES_OF_AN_ENGINE, num_threads)), MAX_ENGINES)


def _cgroup_directories(root: Path, membership: Path) -> list[Path]:
    """The directories that can hold this process's CPU quota, parents included: a parent's quota binds its children."""
    directories = [root, root / "cpu", root / "cpu,cpuacct"]
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return directories
    for line in lines:
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for base in (root / controllers,) if controllers else (root,):
            directories += [base.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    return directories


def _read_quota(directory: Path) -> float | None:
    """CPUs granted by `cpu.max` or `cpu.cfs_quota_us`; None where there is no file or no limit."""
    for quota_file, period_file in (("cpu.max", None), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            words = (directory / quota_file).read_text().split()
            if period_file:
                words += (directory / period_file).read_text().split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None
