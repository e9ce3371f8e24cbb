"""What the service finds out about the certificate of a distant model store's server."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from service.chat.oversight.store_certificate import certificate_end, watch_certificate
from service.telemetry import Telemetry
from tests.e2e.running_service import wait_until
from tests.ports import free_port

_SERIES = "rejoinder_store_certificate_expiry_timestamp_seconds"


def _write_certificate(path: Path, ends: datetime) -> None:
    """A certificate that nobody vouches for, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store.example")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(ends - timedelta(days=90))
    certificate = builder.not_valid_after(ends).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def _tls_server(certificate: Path) -> Iterator[int]:
    """Shakes hands with whoever comes, and hangs up; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("days", [30, -3], ids=["good", "run-out"])
def test_the_end_of_a_certificate_is_read_also_when_it_is_past(tmp_path: Path, days: int) -> None:
    """To the second, from a real handshake with a server that no authority vouches for."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    _write_certificate(tmp_path / "server.pem", ends)
    with _tls_server(tmp_path / "server.pem") as port:
        assert certificate_end("127.0.0.1", port) == ends


def test_the_end_of_the_certificate_becomes_a_metric_by_the_servers_name(tmp_path: Path) -> None:
    """Before it has been read there is no series, so no alert either."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    _write_certificate(tmp_path / "server.pem", ends)
    telemetry = Telemetry()
    assert _SERIES + "{" not in telemetry.render().decode()
    with _tls_server(tmp_path / "server.pem") as port:
        asyncio.run(_watch_until(port, telemetry, lambda: _SERIES + "{" in telemetry.render().decode()))
    (shown,) = (line for line in telemetry.render().decode().splitlines() if line.startswith(_SERIES + "{"))
    assert shown.split()[0] == _SERIES + '{server="127.0.0.1"}'
    assert float(shown.split()[-1]) == ends.timestamp()


def test_a_server_that_does_not_answer_is_logged_and_looked_at_again() -> None:
    """The watch goes on, and shows nothing that it does not know."""
    telemetry = Telemetry()
    with capture_logs() as logs:
        asyncio.run(_watch_until(free_port(), telemetry, lambda: bool(logs)))
    assert (logs[0]["event"], logs[0]["server"]) == ("store_certificate_unread", "127.0.0.1")
    assert _SERIES + "{" not in telemetry.render().decode()


async def _watch_until(port: int, telemetry: Telemetry, is_seen: Callable[[], bool]) -> None:
    watching = asyncio.create_task(watch_certificate(f"https://127.0.0.1:{port}", telemetry))
    await asyncio.to_thread(wait_until, lambda: watching.done() or is_seen(), 30.0)
    assert not watching.done()
    watching.cancel()
