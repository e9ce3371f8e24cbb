"""Rows 21 and 26 to 28: the widget in a browser, S3, a real nginx, and the export that shipped."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

from model_store.bundle import open_bundle
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, verdict
from tests.benchmarks.reliability.service_process import free_port, serving
from tests.benchmarks.reliability.talk import body, listen
from tests.chart.fetch_tools import find_debian

_ROOT = Path(__file__).resolve().parents[4]
_XSS_TESTS = "tests/browser/test_chat_safety.py"
_NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{service_port}; }} }}
}}
"""


def measure_xss(plan: Plan) -> Sequence[Finding]:
    """Runs the browser's tests of that corpus, which has its control: where nothing protects, it fires."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", _XSS_TESTS]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    counts = {name: int(number) for number, name in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    if counts.get("skipped") or not counts.get("passed"):
        raise NotRunError(f"Chromium by Playwright: playwright install chromium ({counts})")
    bad = counts.get("failed", 0) + counts.get("error", 0)
    return [
        Finding(21, "XSS corpus in the widget", "nothing fires; textContent, CSP",
                f"{counts['passed']} browser tests passed, {bad} failed", verdict(holds=bad == 0), {**counts})
    ]  # fmt: skip


def measure_s3(plan: Plan) -> Sequence[Finding]:
    """There is nothing to measure yet."""
    raise NotRunError("the model store has no S3 backend yet, so there is no S3 to be down")


def measure_proxy(plan: Plan) -> Sequence[Finding]:
    """nginx with nothing set but where to pass requests on: it buffers, unless the service tells it not to."""
    nginx = find_debian("nginx")
    if nginx is None:
        raise NotRunError("no nginx: `python tests/chart/fetch_tools.py` fetches Debian's")
    with serving(plan.folder / "proxy") as service, _running(nginx, plan.folder, service.port) as url:
        with httpx2.Client(base_url=url, timeout=120) as client:
            streams = [listen(client, body(seed=seed)) for seed in range(3)]
    first = sorted(one.arrivals[1] for one in streams)[1]
    last = sorted(one.arrivals[-1] for one in streams)[1]
    holds = all(one.is_whole and one.arrivals[1] < 0.7 * one.arrivals[-1] for one in streams)
    return [
        Finding(
            27,
            "SSE behind nginx",
            "first delta before the last is made",
            f"first delta after {1000 * first:.0f} ms, last after {1000 * last:.0f} ms (medians of 3; the heartbeat is "
            "held by tests/e2e)",
            verdict(holds=holds),
            {"first_ms": round(1000 * first), "last_ms": round(1000 * last)},
        )
    ]


@contextmanager
def _running(nginx: str, folder: Path, service_port: int) -> Iterator[str]:
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=port, service_port=service_port), encoding="utf-8")
    command = [nginx, "-e", "stderr", "-g", "daemon off;", "-c", str(configuration)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 30
            while not _answers(url):
                if time.monotonic() > deadline:
                    raise NotRunError("nginx does not start")
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/livez", timeout=10).status_code == 200
    except httpx2.TransportError:
        return False


def measure_export(plan: Plan) -> Sequence[Finding]:
    """The figures that the shipped manifest tells, and that worse ones are refused."""
    from training.export.parity import bounds_broken

    shipped = open_bundle(DEFAULT_BUNDLE).manifest.quantization
    worse = ({"top1_agreement": 0.9799}, {"perplexity_ratio": 1.0201})
    refused = sum(bool(bounds_broken(shipped.model_copy(update=change))) for change in worse)
    holds = not bounds_broken(shipped) and refused == len(worse)
    return [
        Finding(
            28,
            "int8 export against fp32",
            "refused below 98 % top-1 or above +2 % perplexity",
            f"shipped: {shipped.top1_agreement:.2%}, perplexity × {shipped.perplexity_ratio:.4f}; {refused} of "
            f"{len(worse)} worse ones refused",
            verdict(holds=holds),
            {"top1_agreement": shipped.top1_agreement, "perplexity_ratio": shipped.perplexity_ratio},
        )
    ]


FAMILIES = (
    Family((21,), "the XSS corpus in a browser", measure_xss),
    Family((26,), "S3 that is down", measure_s3),
    Family((27,), "SSE behind nginx", measure_proxy),
    Family((28,), "the export that shipped", measure_export),
)
