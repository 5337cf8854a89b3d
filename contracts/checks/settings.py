"""Settings of the document: the key of concurrency, and what is kept and has no effect yet."""

from collections.abc import Iterator
from typing import Final

from contracts.checks.expressions import Scope, check_source
from contracts.checks.sources import Source
from contracts.checks.subject import Subject
from contracts.model import Settings
from contracts.problems import Problem, pointer

WITHOUT_EFFECT: Final = ("budget",)
KEY_SCOPE: Final = Scope("settings.concurrency.key", None, frozenset({"input"}))


def check_settings(subject: Subject) -> Iterator[Problem]:
    """Yield what is wrong with the settings, and a warning for each that is set and does nothing."""
    settings, default = subject.document.settings, Settings()
    for name in WITHOUT_EFFECT:
        if getattr(settings, name) != getattr(default, name):
            message = f"settings.{name} is kept and has no effect in this release"
            yield Problem(pointer("settings", name), "ignored_field", message)
    limit = settings.concurrency
    if limit is not None and limit.key is not None:
        source = Source("", limit.key, "expr")
        yield from check_source(
            subject, source, KEY_SCOPE, pointer("settings", "concurrency", "key")
        )
