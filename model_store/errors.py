"""Errors of the shelf and of the formats that cross it.

CodedError
└── StoreError            (each package's own root hangs beside it)
    ├── ContractError
    │   ├── InvalidConversationError
    │   ├── InvalidTokenizerError
    │   ├── InvalidFactsError
    │   ├── InvalidSafetyRulesError
    │   └── InvalidErasuresError
    ├── BundleError
    │   ├── BundleIncompleteError
    │   ├── BundleTooLargeError
    │   ├── DigestMismatchError
    │   ├── InvalidManifestError
    │   ├── UnsafeBundleError
    │   ├── UnsignedBundleError
    │   └── UntrustedBundleError
    ├── InvalidKeyError
    ├── VersionNotFoundError
    ├── AliasError
    │   ├── UnknownAliasError
    │   ├── AliasNotFoundError
    │   ├── AliasConflictError
    │   ├── AliasWentBackError
    │   ├── CorruptAliasError
    │   └── NoEarlierVersionError
    ├── StoreUnavailableError
    │   └── StoreAccessDeniedError
    ├── InvalidStoreAddressError
    ├── UnsafeStoreError
    └── IntentModelUnusableError
"""

from pydantic import ValidationError

_MAX_PROBLEMS = 3


def problems_of(error: ValidationError) -> str:
    """The first problems by field, in one line and without the values, which could be secret or long."""
    problems = error.errors(include_input=False, include_url=False)[:_MAX_PROBLEMS]
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)


class CodedError(Exception):
    """The root of every package's errors: a stable code, a message with its context filled in.

    A message says what happened, to what, and what to do next.
    """

    code = "error"
    template = "Something failed."

    def __init__(self, **context: object) -> None:
        self.context = context
        super().__init__(self.template.format(**context))


class StoreError(CodedError):
    """The root: something is wrong with the shelf or with what lies on it."""

    code = "store_error"
    template = "The model store failed."


class ContractError(StoreError):
    """A value breaks a format that both programs agree on."""

    code = "contract_error"


class InvalidConversationError(ContractError):
    """The messages do not form a conversation that can be answered."""

    code = "invalid_conversation"
    template = (
        "The conversation cannot be answered: {problem}. Send a list of messages that ends with one from the user."
    )


class InvalidTokenizerError(ContractError):
    """A tokenizer file does not follow the control-token table."""

    code = "invalid_tokenizer"
    template = "The tokenizer {path} cannot be used: {problem}. Train it anew with `python -m training base`."


class InvalidFactsError(ContractError):
    """The operator's facts file cannot be used."""

    code = "invalid_facts"
    template = "The facts file {path} cannot be used: {problem}. See service/facts.yaml for an example."


class InvalidSafetyRulesError(ContractError):
    """A file of safety rules cannot be used."""

    code = "invalid_safety_rules"
    template = "The safety rules {path} cannot be used: {problem}. docs/safety-rules.md says how to write them."


class InvalidErasuresError(ContractError):
    """The list of erased conversations cannot be read or written, so nobody knows what must not come back."""

    code = "invalid_erasures"
    template = (
        "The list of erased conversations {path} cannot be used: {problem}. Mend it, or put back the copy that lies "
        "beside the backups."
    )


class BundleError(StoreError):
    """A bundle on the shelf cannot be trusted."""

    code = "bundle_error"


class BundleIncompleteError(BundleError):
    """A file that the manifest names is missing or has another length, or one is there that it does not name."""

    code = "bundle_incomplete"
    template = "Version {digest} is incomplete: {problem}. It is not used; publish it again."


class BundleTooLargeError(BundleError):
    """A bundle is larger than the store accepts."""

    code = "bundle_too_large"
    template = (
        "Version {digest} is refused: {path} takes {num_bytes} bytes, the limit is {max_bytes}. Publish a smaller one."
    )


class DigestMismatchError(BundleError):
    """A file's content is not what the manifest says, or the manifest is not what its name says."""

    code = "digest_mismatch"
    template = (
        "Version {digest} is corrupt: {path} has digest {actual}, expected {expected}. "
        "It is not used; publish it again."
    )


class InvalidManifestError(BundleError):
    """A manifest is missing, is no JSON, or breaks its schema."""

    code = "invalid_manifest"
    template = "The manifest of {digest} cannot be read: {problem}. It is not used; publish it again."


class UnsafeBundleError(BundleError):
    """A bundle holds something that could reach outside its directory: a link, a device, a path for a name."""

    code = "bundle_unsafe"
    template = "Version {digest} is refused: {path!r} {problem}. Bundles hold plain files only; publish it again."


class IntentModelUnusableError(StoreError):
    """The intent model is missing, corrupt, or of another format."""

    code = "intent_model_unusable"
    template = (
        "The intent model {path} cannot be used: {problem}. Put the files back, or serve without it: "
        "SERVICE_INTENT_WEIGHT=0."
    )


class UnsignedBundleError(BundleError):
    """Nobody has signed a version, and the reader takes signed ones only."""

    code = "bundle_unsigned"
    template = (
        "Version {digest} is refused: nobody has signed it. If you trust it, `python -m model_store sign` it with a "
        "key that is in the list of trusted ones."
    )


class UntrustedBundleError(BundleError):
    """A version is signed, by nobody whom the reader trusts."""

    code = "bundle_untrusted"
    template = (
        "Version {digest} is refused: {problem}. If you trust it, `python -m model_store sign` it with a key that is "
        "in the list, or add that key."
    )


class InvalidKeyError(StoreError):
    """A key to sign with, or to check signatures by, cannot be used."""

    code = "invalid_key"
    template = "The key {key} cannot be used: {problem}. `python -m model_store keys new` makes one."


class VersionNotFoundError(StoreError):
    """No version, or more than one, goes by this name."""

    code = "version_not_found"
    template = "No single version is called {name!r} in {store}. `python -m model_store list` shows what there is."


class AliasError(StoreError):
    """An alias cannot be read or moved."""

    code = "alias_error"


class UnknownAliasError(AliasError):
    """No alias goes by this name."""

    code = "unknown_alias"
    template = "There is no alias {alias!r}. The aliases are {known}."


class AliasNotFoundError(AliasError):
    """The alias points nowhere."""

    code = "alias_not_found"
    template = "The alias {alias!r} is not set in {store}. Set it with `python -m model_store promote`."


class AliasConflictError(AliasError):
    """Somebody else moved the alias first."""

    code = "alias_conflict"
    template = (
        "The alias {alias!r} was not moved: expected generation {expected}, found {actual}. "
        "Look at `python -m model_store list`, measure against the new version, and try again."
    )


class AliasWentBackError(AliasError):
    """An alias has a generation from before the last one that was taken up, or another version in the same one."""

    code = "alias_went_back"
    template = (
        "The alias {alias!r} is at generation {found}, and generation {last} was taken up before: somebody has put an "
        "old file back. The version taken up last goes on. If it was you, restoring the store: remove {path}."
    )


class CorruptAliasError(AliasError):
    """An alias's file or its history is no longer what the store wrote."""

    code = "alias_corrupt"
    template = "{path} cannot be read: {problem}. Move that file away and promote a version; generations go on growing."


class NoEarlierVersionError(AliasError):
    """The alias has pointed at one version only, so there is nothing to roll back to."""

    code = "no_earlier_version"
    template = "The alias {alias!r} has no earlier version in {store}. Name one with `python -m model_store promote`."


class StoreUnavailableError(StoreError):
    """The store cannot be read or written."""

    code = "store_unavailable"
    template = "The model store {store} cannot be used: {problem}. Check the path and its permissions."


class StoreAccessDeniedError(StoreUnavailableError):
    """The credentials do not allow what was asked for, or are none that the store knows."""

    code = "store_access_denied"
    template = "The model store {store} denies access: {problem}. The rights it takes: docs/model-store-on-s3.md."


class InvalidStoreAddressError(StoreError):
    """The address of a model store, or what is set about it, cannot be used."""

    code = "invalid_store_address"
    template = (
        "The model store's address cannot be used: {problem}. Name a directory, or s3://BUCKET/PREFIX with AWS_… "
        "variables as docs/model-store-on-s3.md lists them."
    )


class UnsafeStoreError(StoreError):
    """A store does not keep what it promises, so that two publishers could both win."""

    code = "store_unsafe"
    template = (
        "The model store {store} is refused: {problem}. Use an S3 that keeps to If-None-Match and If-Match, as AWS, "
        "MinIO, Ceph and R2 do."
    )
