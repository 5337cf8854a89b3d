"""Workflows and their versions as the API shows them."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from contracts.manifest import Manifest
from contracts.model import Document
from gateway.instants import Instant
from gateway.problems import ErrorEntry

OWN_FIELDS: Final = frozenset(
    {
        "id",
        "active",
        "valid",
        "problems",
        "revision",
        "published_version",
        "created_at",
        "updated_at",
    }
)
"""What a workflow has besides its document. Sent back, all but `active` is ignored."""


class Workflow(Document, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A workflow: the fields of its document, and what the engine knows about it."""

    id: str
    active: bool
    valid: bool
    problems: tuple[ErrorEntry, ...]
    revision: int
    created_at: Instant
    updated_at: Instant
    published_version: int | UnsetType = UNSET


class WorkflowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as lists show it: without its nodes."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...]
    active: bool
    valid: bool
    revision: int
    created_at: Instant
    updated_at: Instant
    published_version: int | UnsetType = UNSET


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A published version as lists show it: without its document."""

    id: str
    workflow_id: str
    version: int
    note: str
    content_hash: str
    created_at: Instant
    created_by: str | UnsetType = UNSET


class Version(VersionSummary, frozen=True, kw_only=True):
    """A published version: it never changes."""

    document: Document


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is wrong with a document, and what it reads as; null where it cannot be read."""

    valid: bool
    errors: tuple[ErrorEntry, ...]
    warnings: tuple[ErrorEntry, ...]
    document: Document | None
    manifest: Manifest | None
