"""Rows 21 and 26 to 28: the widget in a browser, S3, a real nginx, and the export that shipped."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx2
import numpy as np

from model_store.bundle import open_bundle, write_bundle
from model_store.contract.manifest import MANIFEST_NAME, Quantization
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.reliability.distant_store import DistantStore, distant_store
from tests.benchmarks.reliability.finding import Family, Finding, NotRunError, Plan, verdict
from tests.benchmarks.reliability.service_process import ServiceProcess, free_port, serving
from tests.benchmarks.reliability.talk import ASKS, Heard, body, listen
from tests.chart.fetch_tools import find_debian
from tests.fault_proxy import Fault

_ROOT = Path(__file__).resolve().parents[4]
_XSS_TESTS = "tests/browser/test_chat_safety.py"
_MIN_SPREAD, _MAX_DEAF_SPREAD = 0.3, 0.1
"""Of a stream's time, between first and last delta: where nginx passes them on, and where it keeps them."""
_NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{service_port}; }}
    location /deaf/ {{ proxy_ignore_headers X-Accel-Buffering; proxy_pass http://127.0.0.1:{service_port}/; }}
  }}
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
    """Customers talk while S3 fails in each way; then the service is killed, and starts again with S3 gone.

    The control is the service's own log: while S3 was down it could not look the aliases up.
    """
    seconds, heard, num_noticed = plan.count(30, 5), list[Heard](), 0
    with distant_store(plan.folder / "s3") as distant:
        service = ServiceProcess(
            plan.folder / "s3", model_store=distant.place, poll_seconds=0.2, key_requests_per_minute=0
        )
        try:
            service.start()
            with _customers(service, heard):
                for fault in (Fault.DOWN, Fault.SILENT, Fault.SLOW, Fault.PARTIAL):
                    distant.proxy.fail(fault)
                    before = _num_lookups_failed(service)
                    time.sleep(seconds)
                    distant.proxy.fail(Fault.NONE)  # a question that S3 left unanswered fails now
                    time.sleep(2)
                    num_noticed += _num_lookups_failed(service) > before
                recovery = _seconds_to_take_up(service, distant, plan)
            distant.server.kill()
            service.kill()
            restart = service.start()
            with service.client() as client:
                alone = listen(client, body())
        finally:
            service.kill()
    failed = sum(not one.is_whole for one in [*heard, alone])
    # Slow and partial still bring the few hundred bytes of a move.
    holds = failed == 0 and num_noticed >= 1 and len(alone.digests) == 1
    told = (
        f"{len(heard)} streams while S3 was down, silent, slow and partial ({seconds} s each): {failed} failed; a new "
        f"version taken up {recovery:.1f} s after; killed and started without S3: ready after {restart:.1f} s"
    )
    figures = {"failed": failed, "recovery_seconds": round(recovery, 2), "restart_seconds": round(restart, 2)}
    return [
        Finding(26, "S3 down, slow, partial", "the last good version from the cache; failed = 0", told,
                verdict(holds=holds, is_whole=not plan.is_quick), {**figures, "noticed": num_noticed})
    ]  # fmt: skip


@contextmanager
def _customers(service: ServiceProcess, heard: list[Heard]) -> Iterator[None]:
    is_over = threading.Event()

    def talk(seed: int) -> None:
        with service.client() as client:
            while not is_over.is_set():
                heard.append(listen(client, body(ASKS[len(heard) % len(ASKS)], seed=seed, max_tokens=32)))

    threads = [threading.Thread(target=talk, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def _num_lookups_failed(service: ServiceProcess) -> int:
    return service.log_file.read_text(errors="replace").count("alias_lookup_failed")


def _seconds_to_take_up(service: ServiceProcess, distant: DistantStore, plan: Plan) -> float:
    """Publishes and promotes another version; gives the time until it answers."""
    store = distant.open_beside()
    folder = plan.folder / "s3-other"
    shutil.copytree(DEFAULT_BUNDLE, folder)
    fields = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    del fields["files"]
    fields["name"] = "rejoinder-other"
    digest = write_bundle(folder, fields).digest
    store.publish(folder)
    store.promote("stable", digest)
    began = time.monotonic()
    while not service.metric("rejoinder_alias_info", alias="stable", digest=digest):
        assert time.monotonic() < began + 300, "the service does not take the version up"
        time.sleep(0.05)
    return time.monotonic() - began


def measure_proxy(plan: Plan) -> Sequence[Finding]:
    """nginx with nothing set but where to pass requests on: it buffers, unless the service tells it not to.

    The control is a path where it does not listen to that.
    """
    nginx = find_debian("nginx")
    if nginx is None:
        raise NotRunError("no nginx: `python tests/chart/fetch_tools.py` fetches Debian's")
    folder = Path(tempfile.mkdtemp(prefix="reliability-nginx-"))  # nginx's workers may not enter the table's own
    folder.chmod(0o755)
    with serving(plan.folder / "proxy") as service, _running(nginx, folder, service.port) as url:
        streams, deaf = (_streams(base, plan.count(20, 5)) for base in (url, f"{url}/deaf"))
    shutil.rmtree(folder, ignore_errors=True)
    first, last = (median(one.arrivals[index] for one in streams) for index in (1, -1))
    spread, deaf_spread = _spread(streams), _spread(deaf)
    holds = all(one.is_whole for one in (*streams, *deaf)) and spread >= _MIN_SPREAD and deaf_spread <= _MAX_DEAF_SPREAD
    return [
        Finding(
            27,
            "SSE behind nginx",
            "first delta before the last is made",
            f"{len(streams)} streams, medians: first delta after {1000 * first:.0f} ms, last after {1000 * last:.0f} "
            f"ms, {spread:.0%} of the time between them; the control, nginx that buffers: {deaf_spread:.0%} (the "
            "heartbeat is held by tests/e2e)",
            verdict(holds=holds, is_whole=not plan.is_quick),
            {"first_ms": round(1000 * first), "last_ms": round(1000 * last), "spread": spread, "deaf": deaf_spread},
        )
    ]


def _streams(base: str, number: int) -> list[Heard]:
    with httpx2.Client(base_url=base, timeout=120) as client:
        return [listen(client, body(seed=seed)) for seed in range(number)]


def _spread(streams: Sequence[Heard]) -> float:
    """Share of a stream's time that lies between its first delta and its last: the median."""
    return median(1 - one.arrivals[1] / one.arrivals[-1] for one in streams)


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
    """The graph that ships against the float32 graph of the weights beside it; the control is one rounded badly."""
    from training.export.parity import bounds_broken

    shipped, ruined = _exports(plan.count(96, 8))
    told = open_bundle(DEFAULT_BUNDLE).manifest.quantization
    is_as_told = abs(shipped.perplexity_ratio - told.perplexity_ratio) < 0.01
    holds = not bounds_broken(shipped) and is_as_told and bool(bounds_broken(ruined))
    return [
        Finding(
            28,
            "int8 export against fp32",
            "refused below 98 % top-1 or above +2 % perplexity",
            f"shipped: {shipped.top1_agreement:.2%}, perplexity × {shipped.perplexity_ratio:.4f} (its manifest: "
            f"{told.top1_agreement:.2%}, × {told.perplexity_ratio:.4f}); the control, with bad scales: "
            f"{ruined.top1_agreement:.2%}, × {ruined.perplexity_ratio:.4f}, "
            + ("refused" if bounds_broken(ruined) else "ACCEPTED"),
            verdict(holds=holds, is_whole=not plan.is_quick),
            {"shipped": shipped.model_dump(), "ruined": ruined.model_dump()},
        )
    ]


def _exports(num_texts: int) -> tuple[Quantization, Quantization]:
    """What the shipped graph lost, and what it loses when its scales are wrong by a third, each at random."""
    import onnx
    from onnx import numpy_helper

    from training.data.domain_pack import load_pack
    from training.export.graph_session import GraphSession
    from training.export.onnx_graph import build_graph
    from training.export.parity import measure_quantization
    from training.export.quantize import FLOAT32
    from training.reformer.config import architecture_of
    from training.reformer.model import load_policy
    from training.stages.export import text_sample

    policy = load_policy(DEFAULT_BUNDLE)
    architecture = architecture_of(policy.config)
    weights = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    epsilon = float(policy.config.layer_norm_eps)
    reference = GraphSession(build_graph(weights, architecture, layer_norm_eps=epsilon), architecture)
    texts = text_sample(load_pack("shop"), Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")).held_out[:num_texts]
    graph = onnx.load(str(DEFAULT_BUNDLE / "model.onnx"))
    shipped = measure_quantization(reference, GraphSession(graph, architecture), texts, FLOAT32)
    generator = np.random.default_rng(28)
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and "scale" in tensor.name:
            scales = numpy_helper.to_array(tensor)
            wrong = scales * generator.normal(1, 0.3, scales.shape).astype(scales.dtype)
            tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
    return shipped, measure_quantization(reference, GraphSession(graph, architecture), texts, FLOAT32)


FAMILIES = (
    Family((21,), "the XSS corpus in a browser", measure_xss),
    Family((26,), "S3 that is down", measure_s3),
    Family((27,), "SSE behind nginx", measure_proxy),
    Family((28,), "the export that shipped", measure_export),
)
