"""A small API server for Helm's `lookup`: it knows the kinds of a rendering and holds the objects that it is given.

Nothing can be written to it. `helm template --dry-run=server` asks it as `helm upgrade` asks a real one.
"""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
_GROUPS, _CORE = "/apis", "/api"


@contextmanager
def api_server(kinds: Iterable[Manifest], objects: Iterable[Manifest], directory: Path) -> Iterator[str]:
    """Path of a kubeconfig for a server that knows the kinds of some manifests and holds namespaced objects."""
    answers = _discovery(kinds) | {_place(found): found for found in objects}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Helm's own messages are enough."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield _kubeconfig(f"http://127.0.0.1:{server.server_port}", directory)
        finally:
            server.shutdown()


def _discovery(kinds: Iterable[Manifest]) -> dict[str, Manifest]:
    """What a client asks first: the version, the groups, and the kinds of each."""
    versions: dict[str, set[str]] = {"v1": set()}
    for manifest in kinds:
        versions.setdefault(manifest["apiVersion"], set()).add(manifest["kind"])
    groups = sorted(version for version in versions if "/" in version)
    return {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        _CORE: {"kind": "APIVersions", "versions": ["v1"]},
        _GROUPS: {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(version) for version in groups]},
        **{_root(version): _resources(version, known) for version, known in versions.items()},
    }


def _group(version: str) -> Manifest:
    name, _, short = version.partition("/")
    entry = {"groupVersion": version, "version": short}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def _resources(version: str, kinds: set[str]) -> Manifest:
    listed = [{"name": _plural(kind), "kind": kind, "namespaced": True, "verbs": ["get"]} for kind in sorted(kinds)]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": listed}


def _place(found: Manifest) -> str:
    metadata = found["metadata"]
    parts = (_root(found["apiVersion"]), "namespaces", metadata["namespace"], _plural(found["kind"]), metadata["name"])
    return "/".join(parts)


def _root(version: str) -> str:
    return f"{_GROUPS if '/' in version else _CORE}/{version}"


def _plural(kind: str) -> str:
    """A client goes by what discovery calls it, so that the real server's plurals are not needed."""
    return f"{kind.lower()}s"


def _kubeconfig(url: str, directory: Path) -> str:
    path = directory / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)
