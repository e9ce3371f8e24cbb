"""The longest files are begun first, so that no process is left alone with one of them at the end of a run."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.conftest import LONGEST_FIRST, TESTS, pytest_collection_modifyitems


def test_the_longest_files_are_there() -> None:
    """Each once; one that was renamed would be begun last, and nobody would notice."""
    assert [name for name in LONGEST_FIRST if not (TESTS / name).is_file()] == []
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)


def test_they_come_first_and_all_else_stays_in_its_order() -> None:
    """Nothing gets lost, and every file stays whole."""
    others = ["architecture/test_order.py", "unit/test_z.py", "e2e/test_a.py"]
    names = [name for pair in zip(others, LONGEST_FIRST[2::-1], strict=True) for name in pair]
    items = [cast(Any, SimpleNamespace(path=TESTS / name, number=n)) for name in names for n in range(2)]
    pytest_collection_modifyitems(items)
    expected = [(TESTS / name, n) for name in (*LONGEST_FIRST[:3], *others) for n in range(2)]
    assert [(item.path, item.number) for item in items] == expected


def test_this_run_is_in_that_order(request: pytest.FixtureRequest) -> None:
    """As pytest collected it: none of the longest files stands behind another file."""
    is_long = [item.path in {TESTS / name for name in LONGEST_FIRST} for item in request.session.items]
    assert is_long == sorted(is_long, reverse=True)
