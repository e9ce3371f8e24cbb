"""Helm 3, which many still use: it makes of the chart what Helm 4 makes, so that all other tests hold for both."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chart.conftest import CHART, Helm, run_by
from tests.chart.fetch_tools import find_helm3
from tests.chart.golden import rendered
from tests.chart.value_sets import VALUE_SETS
from tests.chart.wrong_values import WRONG_VALUES, ids_of_wrong_values

ValuesFile = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def helm3() -> str:
    """Path of a Helm 3; skips, saying how to get it, where there is none."""
    found = find_helm3()
    if found is None:
        pytest.skip("no Helm 3: `python tests/chart/fetch_tools.py` fetches one, or set HELM3 to an executable")
    return found


def test_there_are_two_helms(helm: Helm, helm3: str) -> None:
    """The tests of the chart ran with one major version, these with another."""
    assert helm("version", "--short").stdout.startswith("v4.")
    assert run_by(helm3)("version", "--short").stdout.startswith("v3.")


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize("name", VALUE_SETS)
def test_both_helms_render_the_same(helm3: str, name: str) -> None:
    """Manifest by manifest."""
    assert rendered(name, helm3) == rendered(name)


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
def test_helm_3_lints_the_chart_without_a_warning(helm3: str, values_file: ValuesFile, values: dict[str, Any]) -> None:
    """`helm lint --strict` passes."""
    done = run_by(helm3)("lint", "--strict", str(CHART), "--values", values_file(values))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("values", "named"), WRONG_VALUES, ids=ids_of_wrong_values)
def test_helm_3_refuses_wrong_values_by_name(
    helm3: str, values_file: ValuesFile, values: dict[str, Any], named: str
) -> None:
    """The schema stops a wrong value before anything is rendered, and the message names it."""
    done = run_by(helm3)("template", "shop", str(CHART), "--values", values_file(values))
    assert done.returncode != 0 and "schema" in done.stderr
    # Helm 3 writes a place as service.port, Helm 4 as /service/port.
    assert named.replace("/", ".") in done.stderr.replace("/", ".")
