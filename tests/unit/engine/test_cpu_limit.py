"""The CPU limit of a container is read from its control group."""

import os
from pathlib import Path

import pytest

from service.engine.cpu_limit import MAX_ENGINES, cpu_quota, num_affordable_engines, num_usable_cpus

NUM_AFFINE = len(os.sched_getaffinity(0))


def write(path: Path, content: str) -> None:
    """Writes a file and its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.parametrize(("content", "limit"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", NUM_AFFINE)])
def test_version_2_quotas_limit_the_cpus(tmp_path: Path, content: str, limit: int) -> None:
    """Half a CPU counts as one thread; "max" is no limit."""
    write(tmp_path / "cpu.max", content)
    write(tmp_path / "membership", "0::/\n")
    assert num_usable_cpus(tmp_path, tmp_path / "membership") == limit


@pytest.mark.parametrize(("quota", "limit"), [("100000", 1), ("-1", NUM_AFFINE)])
def test_version_1_quotas_limit_the_cpus(tmp_path: Path, quota: str, limit: int) -> None:
    """-1 is no limit."""
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", quota)
    write(tmp_path / "cpu" / "cpu.cfs_period_us", "100000")
    assert num_usable_cpus(tmp_path, tmp_path / "none") == limit


def test_the_quota_of_the_process_own_group_and_its_parents_counts(tmp_path: Path) -> None:
    """A pod's limit lies on a parent of the container's group."""
    write(tmp_path / "pod" / "cpu.max", "100000 100000")
    write(tmp_path / "pod" / "box" / "cpu.max", "max 100000")
    write(tmp_path / "membership", "0::/pod/box\n")
    assert num_usable_cpus(tmp_path, tmp_path / "membership") == 1


def test_a_quota_above_the_affinity_does_not_add_cpus(tmp_path: Path) -> None:
    """The smaller limit counts."""
    write(tmp_path / "cpu.max", f"{(NUM_AFFINE + 4) * 100000} 100000")
    assert num_usable_cpus(tmp_path, tmp_path / "none") == NUM_AFFINE


def test_unreadable_files_are_no_limit(tmp_path: Path) -> None:
    """Nonsense in a quota file does not stop the service from starting."""
    write(tmp_path / "cpu.max", "nonsense")
    assert num_usable_cpus(tmp_path, tmp_path / "none") == NUM_AFFINE


def test_a_quota_is_told_as_it_is_and_none_as_none(tmp_path: Path) -> None:
    """Parts of a CPU, and the smallest of all groups."""
    write(tmp_path / "membership", "0::/pod/box\n")
    assert cpu_quota(tmp_path, tmp_path / "membership") is None
    write(tmp_path / "pod" / "cpu.max", "350000 100000")
    write(tmp_path / "pod" / "box" / "cpu.max", "400000 100000")
    assert cpu_quota(tmp_path, tmp_path / "membership") == 3.5


@pytest.mark.parametrize(
    ("quota", "num_threads", "number"),
    [(None, 1, 1), (0.5, 1, 1), (2, 1, 1), (3.9, 1, 1), (4, 1, 2), (7, 1, 3), (8, 4, 2), (8, 16, 1), (200, 1, 32)],
)
def test_there_is_an_engine_for_every_pair_of_cores_of_a_quota(
    quota: float | None, num_threads: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without a quota, however many cores the machine has; more threads of an engine take more of the cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64 if quota != 200 else 256)))
    assert num_affordable_engines(quota, num_threads) == number <= MAX_ENGINES


def test_cores_that_the_process_may_not_use_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota of eight CPUs, pinned to four."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert num_affordable_engines(8, 1) == 2
