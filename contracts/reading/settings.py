"""Reading the settings of a workflow."""

from typing import Any, Final
from zoneinfo import ZoneInfo

from contracts.limits import DocumentLimits
from contracts.model import Concurrency, OnError, Settings
from contracts.reading.fields import Fields, Shape, is_number, open_fields, type_name
from contracts.reading.policies import read_on_error
from contracts.reading.report import Report

SETTINGS_SHAPE: Final = Shape(
    what="settings",
    names=frozenset(
        ("timezone", "timeout", "on_error", "priority", "concurrency", "failure_workflow", "budget")
    ),
    aliases={"error_policy": "on_error"},
    ignored=frozenset(("save_execution_progress", "save_manual_executions", "caller_policy")),
)

CONCURRENCY_SHAPE: Final = Shape(what="concurrency", names=frozenset(("limit", "key", "on_limit")))

BUDGET_SHAPE: Final = Shape(
    what="budget",
    names=frozenset(("max_tokens", "max_cost_usd", "max_model_calls", "max_tool_calls")),
)

_ON_LIMIT: Final = ("QUEUE", "DROP")
_MOST: Final = 2**53 - 1


def read_settings(document: Fields, report: Report, limits: DocumentLimits) -> Settings:
    """Return the settings of a document."""
    fields = open_fields(
        document.mapping("settings"), SETTINGS_SHAPE, report, sent=document.at("settings")
    )
    most = limits.execution_timeout_s
    return Settings(
        timezone=_timezone(fields),
        timeout=fields.seconds("timeout", most=most, limit="EXECUTION_TIMEOUT_S"),
        on_error=read_on_error(fields) or OnError.STOP,
        priority=fields.integer("priority", default=0, least=-10, most=10),
        concurrency=_concurrency(fields, report),
        failure_workflow=fields.optional_text("failure_workflow"),
        budget=_budget(fields, report),
    )


def _timezone(fields: Fields) -> str:
    value = fields.values.get("timezone", "UTC")
    if isinstance(value, dict):
        value = value.get("name", value.get("default"))
    if not isinstance(value, str):
        fields.problem(
            "timezone", "invalid_type", f"timezone must be a string, not {type_name(value)}"
        )
    elif not is_timezone(value):
        message = f"there is no time zone {value!r:.80}; give an IANA name, as Europe/Berlin"
        fields.problem("timezone", "invalid_value", message)
    else:
        return value
    return "UTC"


def is_timezone(name: str) -> bool:
    """Whether `name` is the IANA name of a time zone."""
    if len(name) > 100 or not name.isascii():
        return False
    try:
        ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        return False
    return True


def _concurrency(fields: Fields, report: Report) -> Concurrency | None:
    if fields.values.get("concurrency") is None:
        return None
    raw = fields.mapping("concurrency")
    inner = open_fields(raw, CONCURRENCY_SHAPE, report, sent=fields.at("concurrency"))
    if "limit" not in inner and isinstance(fields.values["concurrency"], dict):
        inner.missing("limit", "how many executions may be under way at once")
    return Concurrency(
        limit=inner.integer("limit", default=1, least=1, most=1_000_000),
        key=inner.optional_text("key", most=4096),
        on_limit=inner.choice("on_limit", _on_limit, _ON_LIMIT) or "QUEUE",
    )


def _on_limit(text: str) -> str | None:
    spelling = text.strip().upper()
    return spelling if spelling in _ON_LIMIT else None


def _budget(fields: Fields, report: Report) -> dict[str, Any]:
    """Return the budget; every value is a number of at least 0, those that count are whole."""
    budget = open_fields(fields.mapping("budget"), BUDGET_SHAPE, report, sent=fields.at("budget"))
    for name, value in budget.values.items():
        if not is_number(value):
            budget.wrong_type(name, "a number")
        elif value < 0 or value > _MOST or (name != "max_cost_usd" and value != int(value)):
            message = f"{name} must be a {_kind(name)} of at least 0, not {value}"
            budget.problem(name, "invalid_value", message)
    return budget.values


def _kind(name: str) -> str:
    return "number" if name == "max_cost_usd" else "whole number"
