"""Until when the certificate of a distant model store's server is good, as a metric, looked at each hour.

It is read without being trusted, for one that has run out is what there is to see; nothing is asked of the server. Only
of an endpoint that the operator names: AWS changes its own. Whether the store answers is told by `model_router`.
"""

import asyncio
import socket
import ssl
from datetime import datetime
from urllib.parse import urlsplit

import structlog
from cryptography import x509

from model_store.backends.s3_access import is_s3, read_access
from service.telemetry import Telemetry

_PAUSE_SECONDS = 3600.0
_PATIENCE_SECONDS = 10.0
_log = structlog.get_logger(__name__)


async def watch_certificate(location: str, telemetry: Telemetry) -> None:
    """Shows the end of the certificate of a store's server until it is cancelled; ends where there is none to see."""
    endpoint = urlsplit((read_access().endpoint if is_s3(location) else None) or "")
    if endpoint.scheme != "https":
        return
    server, port = endpoint.hostname or "", endpoint.port or 443
    while True:
        try:
            telemetry.store_certificate_read(server, await asyncio.to_thread(certificate_end, server, port))
        except (OSError, ValueError) as error:  # it shows what it knew: a date does not change
            _log.warning("store_certificate_unread", server=server, problem=str(error))
        await asyncio.sleep(_PAUSE_SECONDS)


def certificate_end(server: str, port: int) -> datetime:
    """The last moment of a server's own certificate. Raises OSError where no TLS answers, ValueError for no date."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((server, port), _PATIENCE_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=server) as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(certificate or b"").not_valid_after_utc
