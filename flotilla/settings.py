"""Settings: the one place that reads environment variables.

`VARIABLES` and `Limits` say which there are; docs and tests read the same tables. Unknown variables are ignored, an empty one counts as
not set, and all bad values are reported at once. Values that may hold a secret appear in no message and no repr.
"""

import base64
import binascii
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec

from contracts import credential_types

Environment = Literal["development", "production"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["console", "json"]
Process = Literal["gateway", "scheduler", "worker", "migrate", "up", "verify"]

N = TypeVar("N", int, float)

DEFAULT_URL: Final = "http://127.0.0.1:8002"

MIB: Final = 1024 * 1024
SECRET_KEY_BYTES: Final = 32


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is the variable `LIMIT_<FIELD>`, a whole number; sizes in bytes, times in seconds."""

    body_bytes: int = 16 * MIB
    document_bytes: int = 5 * MIB
    webhook_bytes: int = MIB
    json_depth: int = 64
    value_bytes: int = 16 * MIB
    #: Above the first, a value is stored apart; above the second, the largest of one message are.
    inline_bytes: int = 256 * 1024
    message_bytes: int = 512 * 1024
    #: Event streams that one namespace may read at a time.
    streams: int = 200
    #: Requests per second of one path of webhooks, twice as many in a burst.
    requests_per_s: int = 1_000
    #: What follows, up to `max_parallel`, is about what a document says.
    nodes: int = 1_000
    connections: int = 5_000
    tries: int = 10
    node_timeout_s: int = 86_400
    execution_timeout_s: int = 31_536_000
    loop_depth: int = 8
    max_parallel: int = 1_000
    #: Of one loop, and in seconds of one wait.
    loop_items: int = 100_000
    wait_s: int = 31_536_000
    expression_chars: int = 4_096
    expression_steps: int = 100_000
    expression_bytes: int = 4 * MIB
    #: What is kept of the log of one attempt.
    log_bytes: int = 64 * 1024
    #: Signals of one execution that nothing waits for yet; children inside each other; of one node run.
    signals: int = 1_000
    child_depth: int = 8
    checkpoints: int = 10_000
    #: What a scheduler holds of executions under way, about.
    cache_bytes: int = 256 * MIB


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says; the field of a variable has its name in lower case."""

    database_url: str | None = None
    nats_url: str | None = None
    nats_creds: Path | None = None
    redis_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 8002
    environment: Environment = "development"
    data_dir: Path = Path(".flotilla")
    dev_token: str | None = None
    #: The id of the user that messages without a namespace, and the dev token, stand for.
    default_namespace: str | None = None
    #: Ids with keys: the first seals what is secret, all of them open it.
    secret_keys: tuple[tuple[str, bytes], ...] = ()
    allowed_private_hosts: tuple[str, ...] = ()
    #: What stands in for credentials, by variable; nothing if it must not.
    environment_credentials: Mapping[str, str] = {}
    allow_environment_credentials: bool = True
    #: Node types, or whole families of them, that a worker serves; none: all it has.
    worker_types: tuple[str, ...] = ()
    worker_concurrency: int = 64
    #: How many `flotilla up` starts; they share the executions.
    schedulers: int = 1
    drain_seconds: float = 30
    #: Python modules with further node types: each lists them as `HANDLERS`.
    node_modules: tuple[str, ...] = ()
    log_level: LogLevel = "INFO"
    #: None: console on a terminal, else JSON.
    log_format: LogFormat | None = None
    otel_exporter_otlp_endpoint: str | None = None
    otel_exporter_otlp_traces_endpoint: str | None = None
    otel_sdk_disabled: bool = False
    segments: bool = True
    flotilla_url: str | None = None
    flotilla_token: str | None = None
    limits: Limits = Limits()

    @property
    def traces_endpoint(self) -> str | None:
        """Where spans go, None if nobody wants them; OpenTelemetry reads its other variables by itself."""
        if self.otel_sdk_disabled:
            return None
        if self.otel_exporter_otlp_traces_endpoint is not None:
            return self.otel_exporter_otlp_traces_endpoint
        if self.otel_exporter_otlp_endpoint is not None:
            return f"{self.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
        return None

    def __repr__(self) -> str:
        """Name what is set, without values."""
        changed = [
            name
            for name in self.__struct_fields__
            if getattr(self, name) != getattr(_DEFAULT, name)
        ]
        return f"Settings({', '.join(changed)})"


_DEFAULT: Final = Settings()


class BadSetting(msgspec.Struct, frozen=True):
    """A variable whose value cannot be used."""

    variable: str
    problem: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.problem}; allowed: {self.allowed}"


class SettingsError(Exception):
    """Some variables have values that cannot be used."""

    def __init__(self, *bad: BadSetting) -> None:
        self.bad = bad
        super().__init__("\n".join(map(str, bad)))


class MissingSettings(Exception):
    """A process cannot start without variables that are not set."""

    def __init__(self, process: Process, variables: tuple[str, ...]) -> None:
        self.process = process
        self.variables = variables
        super().__init__(
            f"flotilla {process} needs {' and '.join(variables)}; `flotilla up` brings servers of its own"
        )


def from_environment() -> Settings:
    """Read the settings of this process. Raises SettingsError."""
    return read(os.environ)


def environment() -> Mapping[str, str]:
    """A copy of the whole environment, to start child processes with."""
    return dict(os.environ)


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings that `environ` spells. Raises SettingsError, which names all bad values."""
    bad: list[BadSetting] = []
    fields = dict(_values(environ, VARIABLES, bad))
    credentials = dict(_values(environ, CREDENTIAL_VARIABLES, bad))
    limits = dict(_values(environ, LIMIT_VARIABLES, bad))
    if bad:
        raise SettingsError(*bad)
    return Settings(**fields, environment_credentials=credentials, limits=Limits(**limits))


def check(settings: Settings, process: Process) -> None:
    """Raise MissingSettings or SettingsError unless `process` can start with these settings."""
    missing = tuple(
        name for name in NEEDS[process] if getattr(settings, VARIABLES[name].field) is None
    )
    if missing:
        raise MissingSettings(process, missing)
    if process in ("gateway", "scheduler") and _lacks_keys(settings):
        allowed = f"{VARIABLES['SECRET_KEYS'].allowed}; ENVIRONMENT=production needs at least one"
        raise SettingsError(BadSetting("SECRET_KEYS", "is not set", allowed))
    if settings.dev_token is not None and not _is_dev_token_safe(settings):
        problem = f"is set with ENVIRONMENT={settings.environment} and HOST={settings.host}"
        raise SettingsError(
            BadSetting(
                "DEV_TOKEN", problem, "only with ENVIRONMENT=development and HOST on loopback"
            )
        )


NEEDS: Final[Mapping[Process, tuple[str, ...]]] = {
    "gateway": ("DATABASE_URL", "NATS_URL"),
    "scheduler": ("DATABASE_URL", "NATS_URL"),
    "worker": ("NATS_URL",),
    "migrate": ("DATABASE_URL",),
    "up": (),
    "verify": ("DATABASE_URL", "NATS_URL"),
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_dev_token_safe(settings: Settings) -> bool:
    return settings.environment == "development" and is_loopback(settings.host)


def _lacks_keys(settings: Settings) -> bool:
    return settings.environment == "production" and not settings.secret_keys


class Variable(msgspec.Struct, frozen=True):
    """How one variable is read. `read` raises ValueError with what is wrong with the value."""

    field: str
    read: Callable[[str], Any]
    allowed: str
    is_secret: bool = False


def _values(
    environ: Mapping[str, str], variables: Mapping[str, Variable], bad: list[BadSetting]
) -> Iterator[tuple[str, Any]]:
    """Yield field and value of each variable that is set, and collect what cannot be read."""
    for name, variable in variables.items():
        text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            yield variable.field, variable.read(text)
        except ValueError as error:
            shown = "its value" if variable.is_secret else f"{text!r:.100}"
            bad.append(BadSetting(name, f"{shown} {error}", variable.allowed))


def _text(text: str) -> str:
    return text


def _integer(least: int, most: int | None = None) -> Callable[[str], int]:
    def read_integer(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise ValueError("is no whole number")
        return _in_range(int(text), least, most)

    return read_integer


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
        raise ValueError("is no number of seconds")
    return _in_range(float(text), 0, 86_400)


def _in_range(value: N, least: int, most: int | None) -> N:
    if value < least:
        raise ValueError("is too small")
    if most is not None and value > most:
        raise ValueError("is too large")
    return value


def _one_of(choices: Any, *, fold: Callable[[str], str]) -> Callable[[str], str]:
    def read_choice(text: str) -> str:
        if fold(text) not in get_args(choices):
            raise ValueError("is not known")
        return fold(text)

    return read_choice


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text.lower() == "true"


def _url(*schemes: str) -> Callable[[str], str]:
    def read_url(text: str) -> str:
        scheme, separator, rest = text.partition("://")
        if not separator or not rest:
            raise ValueError("is no URL")
        if scheme.lower() not in schemes:
            raise ValueError("has another scheme")
        return text

    return read_url


def _urls(*schemes: str) -> Callable[[str], str]:
    """Several URLs, or addresses without a scheme, as nats-server's own tools take them."""
    read_url = _url(*schemes)

    def read_urls(text: str) -> str:
        for each in _list(text):
            read_url(each if "://" in each else f"{schemes[0]}://{each}")
        return text

    return read_urls


def _web_address(text: str) -> str:
    return _url("http", "https")(text).rstrip("/")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _hosts(text: str) -> tuple[str, ...]:
    hosts = _list(text)
    for host in hosts:
        if "://" in host or ("/" in host and not _is_network(host)):
            raise ValueError(f"holds {host!r:.80}, which is neither host nor network")
    return hosts


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _types(text: str) -> tuple[str, ...]:
    types = _list(text)
    for each in types:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)?", each):
            raise ValueError(f"holds {each!r:.80}, which names no node type")
    return tuple(each.upper() for each in types)


def _uuid(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise ValueError("is no UUID")
    return text.lower()


def _token(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("has characters that no header can carry")
    return text


def _secret_keys(text: str) -> tuple[tuple[str, bytes], ...]:
    """Keys by their ids. What is wrong is told by position: an id that was forgotten would be the key."""
    keys: dict[str, bytes] = {}
    for number, part in enumerate(_list(text), start=1):
        key_id, colon, encoded = part.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key_id):
            raise ValueError(f"has no id of A-Z a-z 0-9 _ - and a colon before key {number}")
        if key_id in keys:
            raise ValueError(f"has an id twice, the second time before key {number}")
        keys[key_id] = _key(number, encoded)
    return tuple(keys.items())


def _key(number: int, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError(f"has a key {number} that is no base64") from None
    if len(key) != SECRET_KEY_BYTES:
        raise ValueError(f"has a key {number} of {len(key)} bytes")
    return key


VARIABLES: Final[Mapping[str, Variable]] = {
    "DATABASE_URL": Variable(
        "database_url", _url("postgresql", "postgres"), "postgresql://user:password@host:port/database", is_secret=True
    ),
    "NATS_URL": Variable(
        "nats_url", _urls("nats", "tls", "ws", "wss"), "nats://host:port, several separated by commas", is_secret=True
    ),
    "NATS_CREDS": Variable("nats_creds", Path, "the path of a credentials file"),
    "REDIS_URL": Variable("redis_url", _url("redis", "rediss", "unix"), "redis://host:port/number", is_secret=True),
    "HOST": Variable("host", _text, "an address of this machine to listen on"),
    "PORT": Variable("port", _integer(1, 65_535), "1 to 65535"),
    "ENVIRONMENT": Variable("environment", _one_of(Environment, fold=str.lower), "development, production"),
    "DATA_DIR": Variable("data_dir", Path, "the path of a folder"),
    "DEV_TOKEN": Variable("dev_token", _token, "printable ASCII characters without blanks", is_secret=True),
    "SECRET_KEYS": Variable(
        "secret_keys", _secret_keys, "id:base64 of 32 bytes, several separated by commas; the first one seals", is_secret=True
    ),
    "DEFAULT_NAMESPACE": Variable("default_namespace", _uuid, "the id of a user, a UUID"),
    "ALLOWED_PRIVATE_HOSTS": Variable(
        "allowed_private_hosts", _hosts, "host, host:port or network (10.0.0.0/8), separated by commas"
    ),
    "ALLOW_ENVIRONMENT_CREDENTIALS": Variable("allow_environment_credentials", _boolean, "true, false"),
    "WORKER_TYPES": Variable("worker_types", _types, "TYPE or TYPE.SUBTYPE, separated by commas"),
    "WORKER_CONCURRENCY": Variable("worker_concurrency", _integer(1, 10_000), "1 to 10000"),
    "SCHEDULERS": Variable("schedulers", _integer(1, 16), "1 to 16"),
    "DRAIN_SECONDS": Variable("drain_seconds", _seconds, "0 to 86400"),
    "NODE_MODULES": Variable("node_modules", _list, "names of Python modules, separated by commas"),
    "LOG_LEVEL": Variable("log_level", _one_of(LogLevel, fold=str.upper), "DEBUG, INFO, WARNING, ERROR"),
    "LOG_FORMAT": Variable("log_format", _one_of(LogFormat, fold=str.lower), "console, json"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": Variable(
        "otel_exporter_otlp_endpoint", _web_address, "http://host:4318, to which /v1/traces is added"
    ),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": Variable(
        "otel_exporter_otlp_traces_endpoint", _url("http", "https"), "http://host:4318/v1/traces, taken as it stands"
    ),
    "SEGMENTS": Variable("segments", _boolean, "true, false"),
    "OTEL_SDK_DISABLED": Variable("otel_sdk_disabled", _boolean, "true, false"),
    "FLOTILLA_URL": Variable("flotilla_url", _web_address, "http://… or https://…, a gateway's address"),
    "FLOTILLA_TOKEN": Variable("flotilla_token", _token, "printable ASCII characters without blanks", is_secret=True),
}  # fmt: skip

CREDENTIAL_VARIABLES: Final[Mapping[str, Variable]] = {
    name: Variable(name, _text, "what the service gave you", is_secret=True)
    for name in credential_types.VARIABLES
}
"""What stands in for credentials; their fields are the names of the variables."""

LIMIT_RANGES: Final[Mapping[str, tuple[int, int | None]]] = {
    "nodes": (1, 10_000),
    "connections": (1, 50_000),
    "tries": (3, 100),  # nodes that say nothing have 3
    "node_timeout_s": (1, 31_536_000),
    "execution_timeout_s": (1, 315_360_000),
    "loop_depth": (1, 32),
    "max_parallel": (1, 10_000),
    "loop_items": (1, 1_000_000),
    "wait_s": (1, 31_536_000),
    # Not beyond the default: plans, and the filters of event triggers, read expressions up to that length.
    "expression_chars": (1, 4_096),
    "expression_steps": (1_000, 10_000_000),
    "expression_bytes": (1_024, 64 * MIB),
    "log_bytes": (1_024, MIB),
    "signals": (1, 100_000),
    "child_depth": (1, 100),
    "checkpoints": (1, 100_000),
    "value_bytes": (1, 64 * MIB),
    "inline_bytes": (1_024, 512 * 1024),
    "message_bytes": (1_024, 512 * 1024),
}
"""The least and the greatest value of limits that cannot be any whole number of at least 1."""


def _limit(field: str) -> Variable:
    least, most = LIMIT_RANGES.get(field, (1, None))
    allowed = f"a whole number, {f'at least {least}' if most is None else f'{least} to {most}'}"
    return Variable(field, _integer(least, most), allowed)


LIMIT_VARIABLES: Final[Mapping[str, Variable]] = {
    f"LIMIT_{field.upper()}": _limit(field) for field in Limits.__struct_fields__
}
