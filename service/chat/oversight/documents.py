"""Pages that lie in bundles, and links to them: signed, for one page of one version, and worth nothing after an hour.

A link opens in a tab of its own, where no API key can go along. What a page may do there: `api.oversight.versions`.
"""

from typing import NamedTuple

from itsdangerous import BadData

from model_store.contract.manifest import Manifest
from service.signed_texts import timed_serializer

DOCUMENTS = {"training_report.html": "Training report", "gate.html": "Gate report with plots"}
"""Files of a bundle that people may open, with their titles."""
MAX_DOCUMENT_BYTES = 8 << 20
LINK_SECONDS = 3600
_SALT = "rejoinder.document-link"


class Document(NamedTuple):
    """One page of one version."""

    digest: str
    name: str


class DocumentLinks:
    """Issues and verifies links (HMAC-SHA-256)."""

    def __init__(self, secret: str) -> None:
        self._serializer = timed_serializer(secret, salt=_SALT)

    def issue(self, document: Document) -> str:
        """The right to read one page; ASCII, fit for a path."""
        return str(self._serializer.dumps(list(document)))

    def verify(self, token: str) -> Document | None:
        """The page that a genuine link names; None for any other, and for an old one."""
        try:
            digest, name = self._serializer.loads(token, max_age=LINK_SECONDS)
        except (BadData, ValueError, TypeError):
            return None
        return Document(str(digest), str(name))


def documents_of(manifest: Manifest) -> dict[str, str]:
    """Titles of a version's pages, by file name."""
    return {
        name: title
        for name, title in DOCUMENTS.items()
        if name in manifest.files and manifest.files[name].num_bytes <= MAX_DOCUMENT_BYTES
    }
