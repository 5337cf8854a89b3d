"""The desk where workers ask for the credentials of their tasks, since they have neither database nor keys.

A worker shows the token of its task and names a slot. Which credential that is, the stored version of the workflow says, never the
worker: so the token of a task opens what its own node names, and nothing once its execution is over.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from bus.services import Call, CallRefused, Endpoint
from contracts.credentials import (
    Credential,
    CredentialAnswer,
    CredentialCall,
    decode_credential_call,
)
from contracts.messages import encode
from contracts.model import Node
from contracts.statuses import ExecutionStatus
from contracts.subjects import CREDENTIAL_GET
from db import credentials
from db.credentials import CredentialRow
from db.errors import StoreUnavailable
from db.sealing import BrokenSeal, Keyring, UnknownKey
from db.store import Store
from scheduler import claims
from scheduler.executions import Plans
from scheduler.tokens import Tokens

log: Final = structlog.get_logger()


class CredentialDesk:
    """Opens credentials for tasks under way."""

    def __init__(self, store: Store, plans: Plans, tokens: Tokens, keyring: Keyring) -> None:
        self._store = store
        self._plans = plans
        self._tokens = tokens
        self._keyring = keyring

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where workers ask."""
        return (Endpoint("credential-get", CREDENTIAL_GET, self.get),)

    async def get(self, call: Call) -> bytes:
        """Give the credential of a slot of the attempt's node: the one it names, else the user's default one."""
        try:
            asked = decode_credential_call(call.data)
        except msgspec.DecodeError as error:
            raise CallRefused("400", f"the question is unreadable: {error}") from None
        claims.check(self._tokens, asked.claim, event="credential_refused")
        try:
            answer = await self._answer(asked)
        except StoreUnavailable as error:
            raise CallRefused("503", str(error)) from error
        return encode(answer)

    async def _answer(self, asked: CredentialCall) -> CredentialAnswer:
        user_id, node = await self._node(asked)
        named = node.credentials.get(asked.slot)
        if named is None:
            row = await credentials.find_default(self._store, user_id, asked.slot)
        else:
            row = await credentials.find(self._store, user_id, named)
        if row is None:
            return CredentialAnswer(
                reason="" if named is None else f"the credential {named!a:.80} does not exist"
            )
        if row.has_expired(datetime.now(UTC)):
            return CredentialAnswer(reason=f"the credential {row.name!a:.80} has expired")
        return CredentialAnswer(self._opened(row))

    async def _node(self, asked: CredentialCall) -> tuple[str, Node]:
        """Return the owner and the node of an attempt whose execution goes on. Raises CallRefused."""
        task = await credentials.owner(self._store, asked.claim.execution_id)
        if task is None:
            raise CallRefused("404", "there is no such execution")
        if ExecutionStatus(task.status).is_terminal:
            raise CallRefused("403", "the execution is over")
        plan = await self._plans.load(task.version_id)
        node = None if plan is None else plan.document.node(asked.claim.node_id)
        if node is None:
            raise CallRefused("404", "there is no such node")
        return task.user_id, node

    def _opened(self, row: CredentialRow) -> Credential:
        try:
            data = credentials.opened(row, self._keyring)
        except (UnknownKey, BrokenSeal) as error:
            log.error("credential_unreadable", credential_id=row.id, error=str(error))
            raise CallRefused("422", f"the credential {row.name!a:.80}: {error}") from error
        return Credential(
            type=row.type, data=data, id=row.id, name=row.name, allowed_hosts=row.allowed_hosts
        )
