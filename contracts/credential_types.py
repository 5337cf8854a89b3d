"""Credential types as data: what a credential of each holds, which of it is secret, and what may stand in for it.

A type is named as the slot that takes it. What any credential may hold besides is in `COMMON`: `base_url` is the service's own
address, for servers of one's own.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from contracts.schemas import flaws

TEXT: Final = {"type": "string", "maxLength": 65_536}
MAP: Final = {"type": "object"}


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a credential's data; `schema` is the JSON Schema of its value. Few texts may have several lines."""

    name: str
    is_secret: bool = False
    schema: dict[str, Any] = msgspec.field(default_factory=lambda: TEXT)
    may_be_empty: bool = False
    has_lines: bool = False


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Variables of the environment that make a credential: field to variable, and fields that are given with them."""

    variables: dict[str, str]
    given: dict[str, str] = {}


class CredentialType(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What credentials of a type hold. At least one of `needs`, sets of fields, must be there.

    `is_ai`: the operator's environment serves all users; other types are served from it only where there is one user.
    """

    name: str
    fields: tuple[Field, ...]
    needs: tuple[tuple[str, ...], ...]
    sources: tuple[Source, ...] = ()
    base_url: str | None = None
    is_ai: bool = False

    def field(self, name: str) -> Field | None:
        """Return a field that its data may hold, or None."""
        return next((each for each in (*self.fields, *COMMON) if each.name == name), None)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of all fields that its data may hold."""
        return tuple(each.name for each in (*self.fields, *COMMON))

    @property
    def needed(self) -> str:
        """What must be there, for people to read."""
        return ", or ".join(" and ".join(names) for names in self.needs)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that can stand in for the needed fields."""
        return tuple(
            dict.fromkeys(name for each in self.sources for name in each.variables.values())
        )

    def is_enough(self, data: Mapping[str, Any]) -> bool:
        """Whether the needed fields are there."""
        return any(all(name in data for name in names) for names in self.needs)


class Flaw(msgspec.Struct, frozen=True):
    """What is wrong with the data of a credential; `field` is empty for the whole."""

    field: str
    code: str
    message: str


COMMON: Final = (Field("base_url", schema={"type": "string", "maxLength": 2_000}),)

_HTTP_FIELDS: Final[Mapping[str, tuple[Field, ...]]] = {
    "BEARER": (Field("token", is_secret=True),),
    "BASIC": (Field("username"), Field("password", is_secret=True)),
    "API_KEY": (
        Field("api_key", is_secret=True),
        Field("key_name", schema={"type": "string", "pattern": r"^[A-Za-z0-9!#$%&'*+.^_`|~\[\]-]{1,200}$"}),
        Field("key_location", schema={"type": "string", "enum": ["header", "query"]}),
    ),
    "OAUTH2": (
        Field("token_url"), Field("client_id"), Field("client_secret", is_secret=True),
        Field("scope", may_be_empty=True),
    ),
}  # fmt: skip
_HTTP_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "BEARER": ("token",),
    "BASIC": ("username", "password"),
    "API_KEY": ("api_key",),
    "OAUTH2": ("token_url", "client_id", "client_secret"),
}

SCHEMES: Final = tuple(_HTTP_FIELDS)
"""How a credential of the type `http` authorises a request; its field `type` says which of them."""


def _secret(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, is_secret=True) for name in names)


def _plain(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name) for name in names)


def _model_fields(*, may_be_empty: bool = False) -> tuple[Field, ...]:
    return (
        Field("api_key", is_secret=True, may_be_empty=may_be_empty),
        *_plain("default_model", "default_embedding_model"),
        Field("prices", schema=MAP),
    )


def _model(
    name: str, variable: str, base_url: str, *, may_be_empty: bool = False
) -> CredentialType:
    variables = {"api_key": f"{variable}_API_KEY", "base_url": f"{variable}_BASE_URL"}
    return CredentialType(
        name=name,
        fields=_model_fields(may_be_empty=may_be_empty),
        needs=(("api_key",), ("base_url",)) if may_be_empty else (("api_key",),),
        sources=(Source(variables),),
        base_url=base_url,
        is_ai=True,
    )


def _http(scheme: str) -> CredentialType:
    return CredentialType(
        name="http",
        fields=(
            Field("type", schema={"type": "string", "enum": list(SCHEMES)}),
            *_HTTP_FIELDS[scheme],
        ),
        needs=(_HTTP_NEEDS[scheme],),
    )


HTTP: Final = {scheme: _http(scheme) for scheme in SCHEMES}

_TYPES: Final = (
    _model("openai", "OPENAI", "https://api.openai.com/v1", may_be_empty=True),
    _model("anthropic", "ANTHROPIC", "https://api.anthropic.com"),
    _model("gemini", "GOOGLE", "https://generativelanguage.googleapis.com/v1beta/openai"),
    CredentialType(name="webhook", fields=_secret("secret"), needs=(("secret",),)),
    CredentialType(
        name="github",
        fields=_secret("token", "webhook_secret"),
        needs=(("token",), ("webhook_secret",)),
        sources=(Source({"token": "GITHUB_TOKEN"}),),
        base_url="https://api.github.com",
    ),
    CredentialType(
        name="google",
        fields=(*_secret("access_token", "client_secret", "refresh_token"), *_plain("client_id", "token_url")),
        needs=(("access_token",), ("client_id", "client_secret", "refresh_token")),
        sources=(
            Source(
                {
                    "client_id": "GOOGLE_CLIENT_ID",
                    "client_secret": "GOOGLE_CLIENT_SECRET",
                    "refresh_token": "GOOGLE_REFRESH_TOKEN",
                }
            ),
        ),
        base_url="https://www.googleapis.com",
    ),
    CredentialType(
        name="slack",
        fields=_secret("bot_token", "signing_secret"),
        needs=(("bot_token",), ("signing_secret",)),
        sources=(Source({"bot_token": "SLACK_BOT_TOKEN", "signing_secret": "SLACK_SIGNING_SECRET"}),),
        base_url="https://slack.com/api",
    ),
    CredentialType(
        name="discord",
        fields=(*_secret("bot_token", "webhook_url"), *_plain("public_key")),
        needs=(("bot_token",), ("webhook_url",), ("public_key",)),
        sources=(Source({"bot_token": "DISCORD_BOT_TOKEN", "public_key": "DISCORD_PUBLIC_KEY"}),),
        base_url="https://discord.com/api/v10",
    ),
    CredentialType(
        name="telegram",
        fields=_secret("bot_token", "webhook_secret"),
        needs=(("bot_token",), ("webhook_secret",)),
        sources=(Source({"bot_token": "TELEGRAM_BOT_TOKEN"}),),
        base_url="https://api.telegram.org",
    ),
    CredentialType(
        name="trello",
        fields=_secret("api_key", "api_token"),
        needs=(("api_key", "api_token"),),
        sources=(Source({"api_key": "TRELLO_API_KEY", "api_token": "TRELLO_API_TOKEN"}),),
        base_url="https://api.trello.com/1",
    ),
    CredentialType(
        name="notion",
        fields=_secret("token"),
        needs=(("token",),),
        sources=(Source({"token": "NOTION_TOKEN"}),),
        base_url="https://api.notion.com/v1",
    ),
    CredentialType(
        name="email",
        fields=(*_secret("smtp_url", "imap_url"), *_plain("from_address")),
        needs=(("smtp_url",), ("imap_url",)),
        sources=(Source({"smtp_url": "SMTP_URL", "imap_url": "IMAP_URL", "from_address": "EMAIL_FROM"}),),
    ),
    CredentialType(
        name="search",
        fields=(
            Field("provider", schema={"type": "string", "enum": ["tavily", "brave", "searxng"]}),
            *_secret("api_key"),
        ),
        needs=(("provider", "api_key"), ("provider", "base_url")),
        sources=(
            Source({"api_key": "TAVILY_API_KEY"}, {"provider": "tavily"}),
            Source({"api_key": "BRAVE_API_KEY"}, {"provider": "brave"}),
            Source({"base_url": "SEARXNG_URL"}, {"provider": "searxng"}),
        ),
    ),
    CredentialType(name="postgresql", fields=_secret("dsn"), needs=(("dsn",),)),
    CredentialType(
        name="twilio",
        fields=(*_plain("account_sid", "from_number"), *_secret("auth_token")),
        needs=(("account_sid", "auth_token"),),
        sources=(Source({"account_sid": "TWILIO_ACCOUNT_SID", "auth_token": "TWILIO_AUTH_TOKEN"}),),
    ),
    CredentialType(
        name="fcm",
        fields=(Field("service_account", is_secret=True, has_lines=True),),
        needs=(("service_account",),),
        sources=(Source({"service_account": "FCM_SERVICE_ACCOUNT"}),),
    ),
    CredentialType(
        name="mcp",
        fields=(*_plain("url"), *_secret("token"), Field("headers", is_secret=True, schema=MAP)),
        needs=(("url",),),
    ),
)  # fmt: skip

TYPES: Final[Mapping[str, CredentialType]] = {each.name: each for each in _TYPES}
"""All types but `http`, which has one for each of its schemes."""

TYPE_NAMES: Final = tuple(sorted((*TYPES, "http")))

VARIABLES: Final = tuple(dict.fromkeys(name for each in _TYPES for name in each.variables))
"""The environment variables that can stand in for credentials."""


def type_of(name: str, data: Mapping[str, Any]) -> CredentialType:
    """Return what counts for the data of a credential. Raises KeyError for a type that is none."""
    return TYPES[name] if name != "http" else HTTP.get(str(data.get("type")), HTTP["BEARER"])


def normalised(name: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return type and data as they are stored: a scheme of `http` may stand in place of the type, or be left out."""
    fields = {key: value for key, value in data.items() if value is not None}
    if name.strip().upper() in HTTP:
        return "http", {"type": name.strip().upper(), **fields}
    name = name.strip().lower()
    if name != "http":
        return name, fields
    scheme = fields.get("type")
    if isinstance(scheme, str):
        return name, {**fields, "type": scheme.upper()}
    fitting = [each for each, needed in _HTTP_NEEDS.items() if all(key in fields for key in needed)]
    return name, {"type": fitting[0], **fields} if len(fitting) == 1 and scheme is None else fields


def flaws_of(name: str, data: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the normalised data of a credential; texts of secrets are not told."""
    if name == "http" and data.get("type") not in SCHEMES:
        listed = ", ".join(SCHEMES)
        yield Flaw("type", "missing_field", f"say in `type` how it authorises requests: {listed}")
        return
    known = type_of(name, data)
    for key, value in data.items():
        field = known.field(key)
        if field is None:
            listed = ", ".join(known.field_names)
            yield Flaw(
                key,
                "unknown_field",
                f"a credential of type {name} has no such field; it has {listed}",
            )
        else:
            yield from _flaws_in(field, value)
    if not known.is_enough(data):
        yield Flaw("", "missing_field", f"a credential of type {name} needs {known.needed}")


def _flaws_in(field: Field, value: Any) -> Iterator[Flaw]:
    if value == "" and not field.may_be_empty:
        yield Flaw(field.name, "invalid_value", "must not be empty")
    elif isinstance(value, str) and _has_control(value, "\t\r\n" if field.has_lines else ""):
        message = "holds a control character, such as the end of a line; leave it out"
        yield Flaw(field.name, "invalid_value", message)
    elif any(True for _ in flaws(value, field.schema)):
        wanted = field.schema.get("enum") or field.schema.get("pattern") or field.schema["type"]
        yield Flaw(field.name, "invalid_value", f"must be {_said(wanted)}")
    elif field.name in ("base_url", "token_url") and not value.startswith(("http://", "https://")):
        yield Flaw(field.name, "invalid_value", "must be an http or https url")


def _has_control(text: str, allowed: str) -> bool:
    return any(each not in allowed and (each < " " or each == "\x7f") for each in text)


def _said(wanted: Any) -> str:
    if isinstance(wanted, list):
        return "one of " + ", ".join(map(str, wanted))
    return f"of the form {wanted}" if wanted.startswith("^") else f"of the type {wanted}"


def secrets_in(name: str, data: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of a credential's data that nobody may see; what the type does not know counts as secret."""
    known = type_of(name, data) if name in TYPE_NAMES else None
    for key, value in data.items():
        field = None if known is None else known.field(key)
        if field is None or field.is_secret:
            yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def from_environment(
    known: CredentialType, environment: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return the data that the operator's environment has for a type, or None."""
    for source in known.sources:
        found = {
            field: environment[variable]
            for field, variable in source.variables.items()
            if environment.get(variable)
        }
        data = {**source.given, **found}
        if found and known.is_enough(data):
            return data
    return None
