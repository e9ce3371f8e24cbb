"""What the service finds out about the certificate of a distant model store's server."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from service.chat.oversight.store_certificate import certificate_end, watch_certificate
from service.telemetry import Telemetry
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import run_fake_service, say_hello, wait_until
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
                with connection, suppress(OSError):  # who does not trust it breaks off
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


@pytest.fixture
def told_where(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Tells the environment a store's server, and gives the store's address."""

    def tell(endpoint: str) -> str:
        variables = {"AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return "s3://shop/models"

    return tell


def test_a_service_shows_until_when_its_stores_certificate_is_good(
    tmp_path: Path, told_where: Callable[[str], str]
) -> None:
    """By the server's name, from its start on, also while it does not trust the server and so has no model from it."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    _write_certificate(tmp_path / "server.pem", ends)
    with _tls_server(tmp_path / "server.pem") as port:
        location = told_where(f"https://127.0.0.1:{port}")
        with run_fake_service(tmp_path, FakeEngines(say_hello), model_store=location) as service:
            wait_until(lambda: bool(service.metric(_SERIES)))
            assert service.metric(_SERIES) == {'{server="127.0.0.1"}': ends.timestamp()}


def test_a_server_that_does_not_answer_is_logged_and_looked_at_again(told_where: Callable[[str], str]) -> None:
    """The watch goes on, and shows nothing that it does not know."""
    structlog.reset_defaults()  # a service of another test may have silenced warnings
    telemetry = Telemetry()

    async def watch_until_logged() -> None:
        location = told_where(f"https://127.0.0.1:{free_port()}")
        watching = asyncio.create_task(watch_certificate(location, telemetry))
        await asyncio.to_thread(wait_until, lambda: watching.done() or bool(logs), 30.0)
        assert not watching.done()
        watching.cancel()

    with capture_logs() as logs:
        asyncio.run(watch_until_logged())
    assert (logs[0]["event"], logs[0]["server"]) == ("store_certificate_unread", "127.0.0.1")
    assert _SERIES + "{" not in telemetry.render().decode()


def test_where_there_is_no_certificate_nothing_is_watched(told_where: Callable[[str], str]) -> None:
    """A directory, and a server without TLS: the watch ends by itself."""
    telemetry = Telemetry()
    for location in ("/data/models", told_where("http://127.0.0.1:9")):
        asyncio.run(asyncio.wait_for(watch_certificate(location, telemetry), timeout=30.0))
    assert _SERIES + "{" not in telemetry.render().decode()
