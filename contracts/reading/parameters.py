"""Reading the parameters of a node: older names, spellings of enum values, and what stands elsewhere today.

Parameters that no spec knows stay as they are, for validation to report. One thing is refused at once,
because a draft is stored: a parameter in which older documents carried a secret.
"""

from collections.abc import Mapping
from typing import Any, Final

from contracts import schemas
from contracts.problems import pointer
from contracts.reading.fields import USER_ID_REFUSED, Fields
from contracts.reading.older_parameters import converted
from contracts.reading.policies import Moved
from contracts.specs import NodeSpec, Parameter
from contracts.spelling import snake_case

SECRETS: Final = frozenset(
    (
        "access_token", "api_key", "api_token", "apikey", "auth_token", "bearer_token", "bot_token",
        "client_secret", "connection_string", "credential", "credentials", "database_url", "dsn",
        "github_token", "password", "private_key", "refresh_token", "secret", "secret_key",
        "service_account", "signature_secret", "signing_secret", "slack_token", "smtp_password",
        "token", "webhook_secret",
    )
)  # fmt: skip

_NODE_FIELDS: Final = {
    "timeout": "timeout",
    "timeout_seconds": "timeout",
    "retry_attempts": "max_tries",
    "retry_delay": "wait_between_tries",
}

_OWN_TIMEOUTS: Final = {
    "AI_AGENT": "call_timeout",
    "HUMAN_IN_THE_LOOP": "respond_within",
    "FLOW.WAIT": "max_wait",
    "FLOW.DELAY": "max_wait",
}
"""Families and types that read `timeout` as a parameter of their own."""


def read_parameters(node: Fields, spec: NodeSpec | None) -> tuple[dict[str, Any], Moved]:
    """Return the parameters of a node as they are stored, and those that are fields of the node today."""
    raw = node.values_of_users("parameters")
    reading = _Reading(node, spec, raw)
    for key, value in raw.items():
        reading.take(key, value)
    return reading.parameters, reading.moved


class _Reading:
    """What is known while the parameters of one node are read."""

    def __init__(self, node: Fields, spec: NodeSpec | None, raw: Mapping[str, Any]) -> None:
        self.parameters: dict[str, Any] = {}
        self.moved: Moved = {}
        self._node = node
        self._spec = spec
        self._raw = raw
        self._known = {item.name: item for item in spec.parameters} if spec else {}
        self._aliases = {
            alias: name for name, item in self._known.items() for alias in item.aliases
        }

    def take(self, key: str, value: Any) -> None:
        """Put one parameter where it belongs today, or say why it is dropped or refused."""
        spec = self._spec
        if key in self._known or (spec and key in spec.fixed):
            self._store(key, key, value)
        elif spec and (found := converted(spec.preset_of or spec.type, key, value)):
            self._store(key, found[0], found[1])
        elif key in self._aliases:
            self._store(key, self._aliases[key], value)
        elif spec and key in spec.ignored_parameters:
            self._problem(key, "ignored_field", f"{key} is not used by {spec.type} and was dropped")
        elif not self._move(key, value) and not self._refuse(key):
            self.parameters[key] = value

    def _store(self, key: str, name: str, value: Any) -> None:
        # An alias beside its parameter keeps its name; validation refuses the pair.
        if name != key and (name in self._raw or name in self.parameters):
            self.parameters[key] = value
            return
        declared = self._known.get(name)
        if declared and self._is_read_early(declared):
            value = schemas.converted(value, declared.schema)
        self.parameters[name] = _spelled(declared, value) if declared else value
        stored = self._node.stored + pointer("parameters", name)
        self._node.report.moved(sent=self._at(key), stored=stored)

    def _is_read_early(self, declared: Parameter) -> bool:
        """Whether the engine itself reads a parameter, before anybody renders it."""
        assert self._spec is not None
        return declared.kind == "literal" or declared.name in self._spec.port_parameters

    def _move(self, key: str, value: Any) -> bool:
        """Move what is a field of the node today; whether it was one."""
        if self._spec and self._spec.type == "TRIGGER.CRON" and key == "enabled":
            is_flag = isinstance(value, bool)
            self._node.put("disabled", not value if is_flag else value, at=self._at(key))
            return True
        field = _NODE_FIELDS.get(key)
        if field is None:
            return False
        own = self._own_timeout() if field == "timeout" else None
        if own:
            self._store(key, own, value)
        elif field == "timeout":
            self._node.put("timeout", _number(value), at=self._at(key))
        else:
            extra = 1 if key == "retry_attempts" else 0
            number = _number(value)
            is_count = isinstance(number, int | float) and not isinstance(number, bool)
            self.moved[field] = (number + extra if is_count else number, self._at(key))
        return True

    def _own_timeout(self) -> str | None:
        if self._spec is None:
            return None
        name = _OWN_TIMEOUTS.get(self._spec.type) or _OWN_TIMEOUTS.get(self._spec.family)
        return name if name in self._known else None

    def _refuse(self, key: str) -> bool:
        """Refuse what must not be stored; whether it was such."""
        spelling = snake_case(key)
        if spelling == "user_id":
            self._problem(key, "unknown_field", USER_ID_REFUSED)
        elif spelling in SECRETS:
            self._problem(key, "unknown_field", _secret_refused(key, self._spec))
        else:
            return False
        return True

    def _problem(self, key: str, code: str, message: str) -> None:
        self._node.problem_at(self._at(key), code, message)

    def _at(self, key: str) -> str:
        return self._node.at("parameters") + pointer(key)


def _secret_refused(key: str, spec: NodeSpec | None) -> str:
    slots = [slot.name for slot in spec.credentials] if spec else []
    if not slots:
        return f"{key} may hold a secret, and this node type takes no credential; remove it"
    where = " or ".join(f"credentials.{slot}" for slot in slots)
    return f"{key} may hold a secret: save it as a credential and name that in {where}"


def _spelled(parameter: Parameter, value: Any) -> Any:
    """Return `value` with enum values as the schema spells them."""
    alias = _value_alias(parameter, value)
    if alias is not None:
        return alias
    if isinstance(value, list):
        items = parameter.schema.get("items", {})
        return [_spelled_enum(items, item) for item in value] if isinstance(items, dict) else value
    return _spelled_enum(parameter.schema, value)


def _value_alias(parameter: Parameter, value: Any) -> Any:
    if isinstance(value, bool):
        return parameter.value_aliases.get("true" if value else "false")
    if isinstance(value, str):
        return parameter.value_aliases.get(value.strip().lower())
    return None


def _spelled_enum(schema: Mapping[str, Any], value: Any) -> Any:
    if not isinstance(value, str):
        return value
    wanted = value.strip().lower()
    spellings = (item for item in schema.get("enum", ()) if isinstance(item, str))
    return next((item for item in spellings if item.lower() == wanted), value)


def _number(value: Any) -> Any:
    """Return the number that a text spells, as parameters may be sent as text; else `value`."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number
