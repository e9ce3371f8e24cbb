"""/v1/model-versions: the shelf with its releases, one version with its gate report, and moves of the aliases."""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from starlette.convertors import StringConvertor, register_url_convertor

from model_store.backends.protocol import Alias, AliasMove
from model_store.bundle import bundle_size
from model_store.store import AliasState, Release, StoredVersion
from service.access.access_control import Caller
from service.access.api_keys import Scope
from service.access.errors import NotOperatorError
from service.api.access.scopes import caller_of, requires
from service.api.oversight.insights import share_json
from service.api.schemas import SafeText
from service.chat.model_router import ModelRouter
from service.chat.oversight.canary import CanaryState, ratings_to_come, watch
from service.chat.oversight.documents import Document, documents_of
from service.chat.oversight.oversight import Oversight
from service.chat.oversight.release_desk import AUDIT_ACTIONS, MoveRequest, PlannedMove, ReleaseAction
from service.chat.oversight.shelf import GATE_REPORT_NAME, MAX_MOVES, MAX_VERSIONS, VersionReport
from service.records.store import DEFAULT_TENANT, AuditEvent

_DIGEST_PATTERN = r"^[0-9a-f]{64}$"
_MAX_REASON_CHARS = 300
_MAX_LINK_CHARS = 400
_DOCUMENT_HEADERS = {
    "content-security-policy": (
        "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cache-control": "private, no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""A page of a bundle shows its own pictures and styles, and may do nothing else: no script, no request, no storage."""
_NO_DOCUMENT = "This link has expired or names no page. Open it again from the versions page.\n"

router = APIRouter()


class _DigestConvertor(StringConvertor):
    """Matches digests only, so that `moves` and `comparisons` are no versions: GET there is a wrong method."""

    regex = "[0-9a-f]{64}"


register_url_convertor("digest", _DigestConvertor())


class MoveBody(BaseModel):
    """What to do, and the generation of the alias that the decision rests on: a dry run tells it."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    action: ReleaseAction
    version: Annotated[str, StringConstraints(pattern=_DIGEST_PATTERN)] | None = None
    reason: Annotated[SafeText, StringConstraints(max_length=_MAX_REASON_CHARS)] = ""
    expected_generation: int | None = Field(default=None, ge=0, le=2**31)
    dry_run: bool = False

    @model_validator(mode="after")
    def _check_generation(self) -> Self:
        if not self.dry_run and self.expected_generation is None:
            raise PydanticCustomError(
                "missing_generation", "Send expected_generation, as a dry run with dry_run=true tells it."
            )
        return self


@router.get("/v1/model-versions", dependencies=[requires(Scope.REVIEW)])
async def list_versions(request: Request) -> dict[str, Any]:
    """The shelf, newest version first; what serves people, how a candidate is liked, and the latest moves."""
    oversight: Oversight = request.state.oversight
    model_router: ModelRouter = request.state.model_router
    caller = caller_of(request)
    serving = [model.digest for model in model_router.models]
    return {**await asyncio.to_thread(_shelf_json, oversight, caller), "serving": serving}


@router.get("/v1/model-versions/{digest:digest}", dependencies=[requires(Scope.REVIEW)])
async def show_version(digest: Annotated[str, Path(pattern=_DIGEST_PATTERN)], request: Request) -> dict[str, Any]:
    """A version's lineage, figures with their intervals, and what its gate said."""
    oversight: Oversight = request.state.oversight
    report = await asyncio.to_thread(oversight.shelf.report, digest)
    return {**_report_json(report), "documents": list(_documents_json(report, oversight))}


@router.get("/model-documents/{link}", include_in_schema=False)
async def show_document(link: Annotated[str, Path(max_length=_MAX_LINK_CHARS)], request: Request) -> Response:
    """A page of a bundle, for who has its link: a tab of its own cannot bring a key along."""
    oversight: Oversight = request.state.oversight
    document = oversight.links.verify(link)
    if document is not None:
        try:
            content = await asyncio.to_thread(oversight.shelf.document, document)
            return Response(content, media_type="text/html", headers=_DOCUMENT_HEADERS)
        except KeyError:
            pass
    return Response(_NO_DOCUMENT, 404, media_type="text/plain", headers=_DOCUMENT_HEADERS)


@router.post("/v1/model-versions/moves", dependencies=[requires(Scope.ADMIN)])
async def move_alias(body: MoveBody, request: Request) -> dict[str, Any]:
    """Promotes, tries on a share, holds or rolls back; a dry run only says what would happen."""
    oversight: Oversight = request.state.oversight
    caller = caller_of(request)
    if caller.tenant != DEFAULT_TENANT:
        raise NotOperatorError(tenant=DEFAULT_TENANT)
    wanted = MoveRequest(
        action=body.action,
        actor=caller.key_id,
        version=body.version,
        reason=body.reason,
        expected_generation=body.expected_generation,
        tenant=caller.tenant,
    )
    do = oversight.release_desk.plan if body.dry_run else oversight.release_desk.make
    return _planned_json(await asyncio.to_thread(do, wanted), body)


def _shelf_json(oversight: Oversight, caller: Caller) -> dict[str, Any]:
    versions, release = oversight.shelf.versions(), oversight.shelf.release()
    # Versions are everybody's; whose thumbs may be counted is not. The operator decides for all tenants, and sees all.
    tenant = None if caller.tenant == DEFAULT_TENANT else caller.tenant
    canary = watch(oversight.reader, release, tenant=tenant) if release else None
    needed = None
    if release is not None:
        needed = ratings_to_come(oversight.reader, release, canary, share=oversight.canary_share, tenant=tenant)
    events = oversight.records.list_audit(AUDIT_ACTIONS, limit=2 * MAX_MOVES, tenant=caller.tenant)
    return {
        "object": "list",
        "data": [_version_json(version) for version in versions[:MAX_VERSIONS]],
        "num_versions": len(versions),
        "release": _release_json(release) if release else None,
        "canary": _canary_json(canary, is_of_all_tenants=tenant is None) if canary else None,
        "canary_share": oversight.canary_share,
        "ratings_needed": {**asdict(needed), "sentence": needed.sentence} if needed else None,
        "moves": list(_moves_json(oversight.shelf.moves(), events)),
        "can_move": Scope.ADMIN in caller.scopes and caller.tenant == DEFAULT_TENANT,
    }


def _version_json(version: StoredVersion) -> dict[str, Any]:
    manifest, problem = version.manifest, version.problem
    known: dict[str, Any] = {"digest": version.digest, "problem": problem.code if problem else None}
    if manifest is None:
        return known
    return {
        **known,
        "name": manifest.name,
        "created_at": manifest.created_at,
        "languages": manifest.languages,
        "num_bytes": bundle_size(manifest),
        "parent": manifest.lineage.parent,
        "stages": manifest.lineage.stages,
        "data_snapshot": manifest.lineage.data_snapshot,
        "has_gate_report": GATE_REPORT_NAME in manifest.files,
    }


def _release_json(release: Release) -> dict[str, Any]:
    return {
        "stable": _alias_json(release.stable),
        "candidate": _alias_json(release.candidate) if release.candidate else None,
        "since": release.since.isoformat(),
    }


def _alias_json(state: AliasState) -> dict[str, Any]:
    return {"digest": state.digest, "generation": state.generation}


def _canary_json(canary: CanaryState, *, is_of_all_tenants: bool) -> dict[str, Any]:
    return {
        "since": canary.since.isoformat(),
        "stable": share_json(canary.stable),
        "candidate": share_json(canary.candidate),
        "difference": asdict(canary.difference),
        "sentence": canary.sentence,
        "is_of_all_tenants": is_of_all_tenants,
    }


def _moves_json(moves: Iterable[tuple[Alias, AliasMove]], events: Iterable[AuditEvent]) -> Iterable[dict[str, Any]]:
    """Moves with the key that made them, where one did: others came from the command line or from training."""
    actors = {
        (event.details.get("alias"), event.details.get("generation")): event.actor
        for event in events
        if event.details.get("outcome") == "done"
    }
    for alias, move in moves:
        yield {
            "alias": alias.value,
            **move.model_dump(mode="json"),
            "actor": actors.get((alias.value, move.generation)),
        }


def _report_json(report: VersionReport) -> dict[str, Any]:
    manifest, gate = report.manifest, report.gate
    return {
        "object": "model_version",
        "digest": manifest.digest,
        "name": manifest.name,
        "created_at": manifest.created_at,
        "languages": manifest.languages,
        "lineage": manifest.lineage.model_dump(mode="json"),
        "licences": [licence.model_dump(mode="json") for licence in manifest.licences],
        "quantization": manifest.quantization.model_dump(mode="json"),
        "figures": [asdict(figure) for figure in report.figures],
        "changes": [asdict(figure) for figure in report.changes],
        "gate": gate.model_dump(mode="json", include={"accepted", "rules"}) if gate else None,
    }


def _documents_json(report: VersionReport, oversight: Oversight) -> Iterable[dict[str, Any]]:
    """Links to a version's pages, good for an hour."""
    for name, title in documents_of(report.manifest).items():
        link = oversight.links.issue(Document(report.manifest.digest, name))
        yield {"name": name, "title": title, "path": f"/model-documents/{link}"}


def _planned_json(planned: PlannedMove, body: MoveBody) -> dict[str, Any]:
    return {
        "object": "model_version.move",
        "dry_run": body.dry_run,
        "action": body.action.value,
        "alias": planned.alias.value,
        "move": planned.move.model_dump(mode="json"),
        "expected_generation": planned.expected_generation,
        "consequences": planned.consequences,
    }
