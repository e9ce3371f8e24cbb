"""How many CPUs this process may use. onnxruntime counts the host's, also inside a container that has one."""

import math
import os
from pathlib import Path


def num_usable_cpus(cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """The smaller of the CPU affinity and the cgroup's CPU quota (version 2 or 1), rounded up; at least 1."""
    limits = [float(len(os.sched_getaffinity(0)))]
    for directory in _cgroup_directories(cgroup_root, membership):
        quota = _read_quota(directory)
        if quota is not None:
            limits.append(quota)
    return max(1, math.ceil(min(limits)))


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
