"""Webhooks: at which path which workflow is started.

A row is an armed webhook. Rows come and go in the transaction that publishes, activates, deactivates or deletes their
workflow, so that what is received never disagrees with what is published.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.webhooks import Authentication, ResponseMode, Webhook
from db import queries
from db.credentials import CredentialRow
from db.errors import StoreError
from db.sealing import Sealed
from db.store import Row, Session, Store

_SQL: Final = queries.load("webhooks")


class WebhookPathTaken(StoreError):
    """Another workflow, perhaps of another user, receives deliveries at this path."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"the path {path} belongs to another workflow")


class ArmedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that starts the version `version_id`; `response_timeout` is in seconds.

    `credential` is the one that verifies its senders, as it is now.
    """

    user_id: str
    workflow_id: str
    version_id: str
    node_id: str
    path: str
    methods: tuple[str, ...]
    authentication: Authentication
    header: str
    response_mode: ResponseMode
    response_timeout: float
    filter: str | None
    credential: CredentialRow | None = None


async def find(store: Store, path: str) -> ArmedWebhook | None:
    """Return what is received at a path, or None."""
    row = await store.fetch_row(_SQL["find_webhook"], path)
    if row is None:
        return None
    return ArmedWebhook(
        user_id=str(row["user_id"]),
        workflow_id=str(row["workflow_id"]),
        version_id=str(row["version_id"]),
        node_id=row["node_id"],
        path=row["path"],
        methods=tuple(row["methods"]),
        authentication=row["auth_mode"],
        header=row["header"],
        response_mode=row["response_mode"],
        response_timeout=row["response_timeout_s"],
        filter=row["filter"],
        credential=_credential(row),
    )


def _credential(row: Row) -> CredentialRow | None:
    """Return the credential of a webhook, which came along with it."""
    if row["credential_type"] is None:
        return None
    return CredentialRow(
        id=str(row["credential_id"]),
        user_id=str(row["user_id"]),
        name=row["credential_name"],
        type=row["credential_type"],
        sealed=Sealed(row["key_id"], row["ciphertext"]),
        fields=tuple(row["fields"]),
        expires_at=row["expires_at"],
    )


async def replace(
    session: Session,
    user_id: str,
    workflow_id: str,
    version_id: str | None,
    wanted: Sequence[Webhook],
) -> None:
    """Make these the armed webhooks of a workflow; none if it is not active or was never published.

    Belongs into the transaction that changes the one or the other. Raises WebhookPathTaken.
    """
    await session.execute(_SQL["delete_webhooks"], workflow_id)
    if version_id is None or not wanted:
        return
    taken = await session.fetch(
        _SQL["insert_webhooks"],
        workflow_id,
        user_id,
        version_id,
        [each.node_id for each in wanted],
        [each.path for each in wanted],
        [",".join(each.methods) for each in wanted],
        [each.authentication for each in wanted],
        [each.header for each in wanted],
        [each.response_mode for each in wanted],
        [each.response_timeout for each in wanted],
        [each.filter for each in wanted],
        [each.credential for each in wanted],
    )
    if taken:
        raise WebhookPathTaken(taken[0]["path"])
