"""What the gateway must be told by whoever starts it."""

import ipaddress
from typing import Literal

import msgspec

from contracts.expressions.budget import DEFAULT_LIMITS, Limits
from contracts.limits import DocumentLimits
from contracts.payloads import PayloadLimits
from db.sealing import Keyring

Environment = Literal["development", "production"]


class GatewayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of requests, and of the documents, expressions and values in them: sizes in bytes, times in seconds."""

    body_bytes: int = 16 * 1024 * 1024
    document_bytes: int = 5 * 1024 * 1024
    webhook_bytes: int = 1024 * 1024
    metadata_bytes: int = 64 * 1024
    json_depth: int = 64
    body_seconds: float = 30
    streams_per_user: int = 200
    requests_per_s: int = 1_000
    documents: DocumentLimits = DocumentLimits()
    expressions: Limits = DEFAULT_LIMITS
    payloads: PayloadLimits = PayloadLimits()


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's settings.

    `dev_token` opens everything to `dev_user_id`, on a development machine only. After the signal to
    stop, readiness is refused for `notice_seconds` while requests are still taken, so that a load
    balancer can look away; then requests under way have `drain_seconds` to finish. Without keys in the
    `keyring` no credential can be stored.
    """

    host: str = "127.0.0.1"
    port: int = 8002
    environment: Environment = "development"
    version: str = "0.1.0"
    dev_token: str | None = None
    dev_user_id: str | None = None
    notice_seconds: float = 0.5
    drain_seconds: float = 30
    catalogue_seconds: float = 3
    command_seconds: float = 5
    heartbeat_seconds: float = 15
    keyring: Keyring = msgspec.field(default_factory=Keyring)
    limits: GatewayLimits = GatewayLimits()


class UnsafeDevToken(Exception):
    """DEV_TOKEN is set where others could use it, so the gateway refuses to start."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.environment = settings.environment
        self.host = settings.host
        super().__init__(
            "DEV_TOKEN needs ENVIRONMENT=development, HOST on loopback and a dev user; found "
            f"ENVIRONMENT={self.environment}, HOST={self.host}, "
            f"dev user {'set' if settings.dev_user_id else 'missing'}"
        )


def check_dev_token(settings: GatewaySettings) -> None:
    """Raise UnsafeDevToken if the dev token could be used from another machine."""
    if settings.dev_token is None:
        return
    is_safe = settings.environment == "development" and is_loopback(settings.host)
    if not is_safe or not settings.dev_token or settings.dev_user_id is None:
        raise UnsafeDevToken(settings)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
