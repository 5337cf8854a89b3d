"""Credentials over NATS: one request, one answer, nothing kept on the way."""

from bus.claims import ask, until_answered
from bus.client import Bus
from contracts.credentials import CredentialAnswer, CredentialCall, decode_credential_answer
from contracts.messages import encode
from contracts.payloads import Claim
from contracts.subjects import CREDENTIAL_GET


class CredentialClient:
    """Asks for the credentials of attempts."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def get(self, claim: Claim, slot: str) -> CredentialAnswer:
        """Return what there is for a slot, once a scheduler answers. Raises ClaimRefused, BusClosed."""
        data = encode(CredentialCall(claim=claim, slot=slot))

        async def asked() -> CredentialAnswer:
            answer = await ask(self._bus, CREDENTIAL_GET, data)
            return decode_credential_answer(answer.data)

        return await until_answered(asked, event="credential_waits")
