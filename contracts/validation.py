"""Validation: everything that forbids publishing a document, or is worth a warning, at once.

Problems of class S, which forbid saving, are found when a document is read (`contracts.document`);
`examine` does both. Time is linear in the size of the document but for expressions, which have
budgets of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from contracts.checks.credentials import check_credentials
from contracts.checks.flow import check_flow
from contracts.checks.mappings import check_concurrency, check_mappings
from contracts.checks.parameters import check_parameters
from contracts.checks.settings import check_settings
from contracts.checks.subject import CronCheck, SchemaCheck, Subject
from contracts.checks.webhooks import check_webhooks
from contracts.checks.wiring import check_wiring
from contracts.document import DEFAULT_LIMITS, Reading, read_document
from contracts.expressions.budget import DEFAULT_LIMITS as DEFAULT_EXPRESSION_LIMITS
from contracts.expressions.budget import Limits
from contracts.expressions.regex import Regex
from contracts.limits import DocumentLimits
from contracts.model import Document
from contracts.problems import Problem, Problems
from contracts.specs import Catalogue


def validate(
    document: Document,
    catalogue: Catalogue,
    *,
    regex: Regex | None = None,
    credentials: Mapping[str, str] | None = None,
    cron_fault: CronCheck | None = None,
    schema_fault: SchemaCheck | None = None,
    limits: DocumentLimits = DEFAULT_LIMITS,
    expression_limits: Limits = DEFAULT_EXPRESSION_LIMITS,
) -> tuple[Problem, ...]:
    """Return all problems of a normalised document, with pointers into it.

    `credentials` are those that exist, their types by id and by name; without them, as without a `regex` matcher,
    `cron_fault` or `schema_fault`, what they would tell is not checked. Of a fragment only single nodes
    are judged.
    """
    subject = Subject(
        document,
        catalogue,
        regex=regex,
        credentials=credentials,
        cron_fault=cron_fault,
        schema_fault=schema_fault,
        limits=limits,
        expression_limits=expression_limits,
    )
    problems = Problems()
    for problem in _problems(subject):
        problems.add(problem)
    return tuple(problems.kept)


def examine(
    raw: Any,
    catalogue: Catalogue,
    *,
    regex: Regex | None = None,
    credentials: Mapping[str, str] | None = None,
    cron_fault: CronCheck | None = None,
    schema_fault: SchemaCheck | None = None,
    limits: DocumentLimits = DEFAULT_LIMITS,
    expression_limits: Limits = DEFAULT_EXPRESSION_LIMITS,
) -> Reading:
    """Read and validate a document: all its problems, with pointers into what was sent."""
    reading = read_document(raw, catalogue, limits)
    document = reading.document or reading.draft
    if document is None:
        return reading
    found = validate(
        document,
        catalogue,
        regex=regex,
        credentials=credentials,
        cron_fault=cron_fault,
        schema_fault=schema_fault,
        limits=limits,
        expression_limits=expression_limits,
    )
    problems = (*reading.problems, *reading.located(found))
    return msgspec.structs.replace(reading, problems=problems)


def _problems(subject: Subject) -> Iterator[Problem]:
    yield from check_parameters(subject)
    yield from check_credentials(subject)
    yield from check_webhooks(subject)
    yield from check_settings(subject)
    yield from check_concurrency(subject)
    yield from check_mappings(subject)
    if subject.is_whole:
        yield from check_wiring(subject)
        yield from check_flow(subject)
