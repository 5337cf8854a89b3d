"""Settings of the document that are kept and have no effect yet: nobody should rely on them unawares."""

from collections.abc import Iterator
from typing import Final

from contracts.checks.subject import Subject
from contracts.model import Settings
from contracts.problems import Problem, pointer

WITHOUT_EFFECT: Final = ("budget",)


def check_settings(subject: Subject) -> Iterator[Problem]:
    """Yield a warning for every setting that is set and does nothing."""
    settings, default = subject.document.settings, Settings()
    for name in WITHOUT_EFFECT:
        if getattr(settings, name) != getattr(default, name):
            message = f"settings.{name} is kept and has no effect in this release"
            yield Problem(pointer("settings", name), "ignored_field", message)
