"""The credentials of one attempt: fetched when its handler asks, known to it alone, and masked in all that it says.

A slot is looked up in this order: what the node names, the user's default integration, the operator's environment. The first two
are asked for where they are stored; the last one the worker knows.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from contracts.credential_types import TYPES, from_environment
from contracts.credentials import Credential, CredentialAnswer
from contracts.failures import Failure, FailureKind
from contracts.payloads import Claim
from nodes.answers import Failed
from nodes.masking import Masker

PLACE = "/v1/credentials"
"""Where credentials are stored."""


class CredentialSource(Protocol):
    """Asks for what is stored."""

    async def get(self, claim: Claim, slot: str) -> CredentialAnswer:
        """Return what there is for a slot of an attempt's node. Raises Failed."""


class OperatorEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """Variables that stand in for credentials: those of AI providers for all, others for `only_user`, where there is one user."""

    variables: Mapping[str, str] = {}
    only_user: str | None = None

    def __repr__(self) -> str:
        """Name the variables and none of their values."""
        return f"OperatorEnvironment({', '.join(self.variables)})"

    def get(self, slot: str, user_id: str) -> Credential | None:
        """Return the credential that the environment has for a slot, or None."""
        known = TYPES.get(slot)
        if known is None or not (known.is_ai or user_id == self.only_user):
            return None
        data = from_environment(known, self.variables)
        return None if data is None else Credential(type=slot, data=data)


class NoSource:
    """Stands where nothing is stored."""

    async def get(self, claim: Claim, slot: str) -> CredentialAnswer:
        """Return that there is none."""
        return CredentialAnswer()


class Credentials:
    """What a handler gets its credentials from."""

    def __init__(
        self,
        source: CredentialSource,
        environment: OperatorEnvironment,
        claim: Claim,
        *,
        user_id: str,
        named: Mapping[str, str],
        masker: Masker,
    ) -> None:
        self._source = source
        self._environment = environment
        self._claim = claim
        self._user_id = user_id
        self._named = named
        self._masker = masker
        self._known: dict[str, Credential] = {}

    async def get(self, slot: str) -> Credential:
        """Return the credential for a slot. Raises Failed: CREDENTIALS_MISSING says what to set, and where."""
        if slot not in self._known:
            credential = await self._found(slot)
            self._masker.add(credential.secrets)
            self._known[slot] = credential
        return self._known[slot]

    async def _found(self, slot: str) -> Credential:
        answer = await self._source.get(self._claim, slot)
        if answer.credential is not None:
            return answer.credential
        # What is meant must be there: the environment would be another account than its author meant.
        is_meant = slot in self._named or answer.reason
        credential = None if is_meant else self._environment.get(slot, self._user_id)
        if credential is None:
            raise Failed(no_credential(self._claim.node_id, slot, answer.reason))
        return credential


def no_credential(node_id: str, slot: str, reason: str = "") -> Failure:
    """Return the failure of a node whose slot is empty."""
    known = TYPES.get(slot)
    needed = "" if known is None else f" with {known.needed}"
    variables = () if known is None else known.variables
    ways = [
        f"store one{needed} at {PLACE} and name it in credentials.{slot} of the node",
        f"make it the credential of your default integration for {slot} (/v1/integrations)",
    ]
    if variables:
        ways.append(f"have the operator of the workers set {', '.join(variables)}")
    what = reason or f"there is no credential for the slot {slot}"
    message = f"node {node_id}: {what}; {', or '.join(ways)}"
    details = {
        "node_id": node_id,
        "slot": slot,
        "fields": [] if known is None else [list(names) for names in known.needs],
        "variables": list(variables),
        "place": PLACE,
    }
    return Failure(FailureKind.CREDENTIALS_MISSING, "no_credential", message, details)


def credential_refused(node_id: str, slot: str, status: int, origin: str) -> Failure:
    """Return the failure of a call whose credential the service does not take."""
    message = (
        f"node {node_id}: {origin} answered with status {status} to the credential of the slot {slot}; "
        f"see whether it still counts there and may do this, and renew it at {PLACE}"
    )
    details = {"node_id": node_id, "slot": slot, "status_code": status, "place": PLACE}
    return Failure(FailureKind.CREDENTIALS_MISSING, "credential_refused", message, details)
