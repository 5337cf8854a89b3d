"""The secrets that verify the senders of webhooks: whether they can, asked before a workflow is armed with them."""

from datetime import UTC, datetime
from typing import Final

import structlog

import db.credentials
from contracts.model import Document
from contracts.problems import Problem, pointer
from contracts.senders import BadSecret, signature
from contracts.webhooks import SLOT, Webhook
from db.credentials import CredentialRow, opened
from db.sealing import BrokenSeal, UnknownKey
from gateway.problems import Refused, invalid_document
from gateway.services import Gateway

log: Final = structlog.get_logger("gateway")


async def check_secrets(
    gateway: Gateway, user_id: str, document: Document, wanted: tuple[Webhook, ...]
) -> None:
    """Raise Refused if deliveries at a webhook would all be refused: its secret cannot sign, or has expired."""
    places = {node.id: place for place, node in enumerate(document.nodes)}
    problems = []
    for webhook in wanted:
        reason = await _reason_against(gateway, user_id, webhook)
        if reason is not None:
            at = pointer("nodes", places[webhook.node_id], "credentials", SLOT)
            message = f"nobody could deliver to {webhook.node_id!r}: {reason}"
            problems.append(Problem(at, "credential_missing", message, webhook.node_id))
    if problems:
        raise invalid_document(tuple(problems))


def secret_of(gateway: Gateway, row: CredentialRow, at: datetime) -> str | None:
    """Return what a sender must know, None for a credential that has expired. Raises Refused."""
    if row.has_expired(at):
        return None
    try:
        secret: str = opened(row, gateway.settings.keyring)["secret"]
    except (UnknownKey, BrokenSeal) as error:
        log.error("credential_unreadable", credential_id=row.id, error=str(error))
        detail = "The secret that verifies senders cannot be read now. Try again later."
        raise Refused("unavailable", detail) from error
    return secret


async def _reason_against(gateway: Gateway, user_id: str, webhook: Webhook) -> str | None:
    if webhook.authentication == "NONE" or webhook.credential is None:
        return None
    row = await db.credentials.find(gateway.store, user_id, webhook.credential)
    if row is None:
        return f"there is no credential {webhook.credential!r:.80} any more"
    secret = secret_of(gateway, row, datetime.now(UTC))
    if secret is None:
        return f"the credential {row.name!r:.80} has expired"
    if webhook.authentication == "SIGNATURE":
        try:
            signature("", "", b"", secret)
        except BadSecret as error:
            return f"SIGNATURE needs a secret that can sign, and of {row.name!r:.80} {error}"
    return None
