"""The processes that `flotilla up` supervises: how each is started, told what it needs, and known to be ready."""

import sys
from collections.abc import Mapping
from typing import Final

import msgspec

from flotilla.client import Client, ClientError
from flotilla.supervisor import ChildSpec, Probe

# The door closes first, then work ends, and who records it goes last.
STAGES: Final[Mapping[str, int]] = {"gateway": 0, "worker": 1, "scheduler": 2}


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is; URLs with their passwords."""

    host: str
    port: int
    database_url: str
    nats_url: str
    redis_url: str

    @property
    def authority(self) -> str:
        """The gateway's host and port, as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def gateway_url(self) -> str:
        """The gateway."""
        return f"http://{self.authority}"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the children are told besides the environment of `up` itself."""

    addresses: Addresses
    dev_token: str
    secret_keys: str
    namespace: str
    allowed_private_hosts: tuple[str, ...]
    log_format: str
    schedulers: int = 1


def specs(base: Mapping[str, str], told: Told, client: Client) -> list[ChildSpec]:
    """The children, in the order in which they are started."""
    schedulers = ["scheduler", *(f"scheduler-{n}" for n in range(2, told.schedulers + 1))]
    environments = {
        **{name: _scheduler_environment(told) for name in schedulers},
        "gateway": _gateway_environment(told),
        "worker": _worker_environment(told),
    }
    probes: Mapping[str, Probe] = {
        **{name: lambda: _is_healthy(client, "schedulers") for name in schedulers},
        "gateway": lambda: _is_ready(client),
        "worker": lambda: _is_healthy(client, "workers"),
    }
    return [
        ChildSpec(
            name=name,
            argv=(sys.executable, "-P", "-m", "flotilla", name.partition("-")[0]),
            env=_merged(base, _common_environment(told) | additions),
            stop_stage=STAGES[name.partition("-")[0]],
            probe=probes[name],
        )
        for name, additions in environments.items()
    ]


Environment = dict[str, str | None]
"""Variables of a child; None takes one away that it need not see."""


def _common_environment(told: Told) -> Environment:
    return {
        "NATS_URL": told.addresses.nats_url,
        "DEFAULT_NAMESPACE": told.namespace,
        "LOG_FORMAT": told.log_format,
        "DEV_TOKEN": None,
        "FLOTILLA_TOKEN": None,
    }


def _gateway_environment(told: Told) -> Environment:
    return {
        "DATABASE_URL": told.addresses.database_url,
        "REDIS_URL": told.addresses.redis_url,
        "HOST": told.addresses.host,
        "PORT": str(told.addresses.port),
        "DEV_TOKEN": told.dev_token,
        "SECRET_KEYS": told.secret_keys,
    }


def _scheduler_environment(told: Told) -> Environment:
    return {
        "DATABASE_URL": told.addresses.database_url,
        "REDIS_URL": None,
        "SECRET_KEYS": told.secret_keys,
    }


def _worker_environment(told: Told) -> Environment:
    return {
        "DATABASE_URL": None,  # workers never touch the engine's tables
        "SECRET_KEYS": None,  # they ask for each credential
        "REDIS_URL": told.addresses.redis_url,
        "ALLOWED_PRIVATE_HOSTS": ",".join((*told.allowed_private_hosts, told.addresses.authority)),
    }


def _merged(base: Mapping[str, str], additions: Environment) -> Mapping[str, str]:
    return {name: value for name, value in {**base, **additions}.items() if value is not None}


async def _is_ready(client: Client) -> bool:
    try:
        await client.get("/health/ready")
    except ClientError:
        return False
    return True


async def _is_healthy(client: Client, check: str) -> bool:
    """What the gateway's health says of the others: a worker counts as alive once a scheduler has written its heartbeat down."""
    try:
        checks = (await client.get("/health"))["checks"]
    except ClientError:
        return False
    return bool(checks.get(check, checks["workers"]) == "up")
