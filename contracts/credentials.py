"""Credentials on their way to a worker: asked for with the token of a task, answered by a scheduler, stored nowhere.

They travel in core NATS alone, which keeps nothing; what listens on the wire is kept out by TLS and by permissions on subjects.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from contracts.credential_types import TYPE_NAMES, secrets_in, type_of
from contracts.payloads import Claim


class CredentialCall(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which credential an attempt wants: that of a slot of its node. The stored version says which one that is."""

    claim: Claim
    slot: str


class Credential(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A credential, opened. `allowed_hosts` are those it may be sent to, none: the host of its base URL."""

    type: str
    data: dict[str, Any]
    id: str = ""
    name: str = ""
    allowed_hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Name the credential and none of its data: logs and traces show reprs."""
        return f"Credential({self.type}, {self.name or self.id or 'from the environment'})"

    @property
    def base_url(self) -> str | None:
        """The address of the service: the credential's own, else that of its type."""
        own = self.data.get("base_url")
        if own is not None:
            return str(own)
        return type_of(self.type, self.data).base_url if self.type in TYPE_NAMES else None

    @property
    def secrets(self) -> Iterator[str]:
        """The texts in it that nobody may see."""
        return secrets_in(self.type, self.data)


class CredentialAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a scheduler has for a slot: a credential, or None with the reason why there is none that counts."""

    credential: Credential | None = None
    reason: str = ""


decode_credential_call: Final = msgspec.json.Decoder(CredentialCall).decode
decode_credential_answer: Final = msgspec.json.Decoder(CredentialAnswer).decode
