"""Credentials of attempts: asked for where they are stored, with the token of the task."""

from bus.claims import ClaimRefused
from bus.credentials import CredentialClient
from contracts.credentials import CredentialAnswer
from contracts.failures import Failure, FailureKind
from contracts.payloads import Claim
from nodes.answers import Failed


class StoredCredentials:
    """Fetches credentials for the attempts of a worker, and keeps none."""

    def __init__(self, client: CredentialClient) -> None:
        self._client = client

    async def get(self, claim: Claim, slot: str) -> CredentialAnswer:
        """Return what there is for a slot, waiting while no scheduler answers. Raises Failed."""
        try:
            return await self._client.get(claim, slot)
        except ClaimRefused as refused:
            message = f"node {claim.node_id}: the credential for the slot {slot} was not given: {refused.reason}"
            details = {"node_id": claim.node_id, "slot": slot}
            failure = Failure(FailureKind.ERROR, "credential_unavailable", message, details)
            raise Failed(failure) from refused
