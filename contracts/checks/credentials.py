"""Checks of credentials: the slots of the specs, and the secrets that triggers verify their senders with."""

from collections.abc import Iterator

from contracts.checks.subject import Subject
from contracts.credential_types import TYPE_NAMES
from contracts.graph import is_trigger
from contracts.model import Node
from contracts.problems import Problem, pointer
from contracts.specs import NodeSpec
from contracts.webhooks import WEBHOOK_TRIGGER


def check_credentials(subject: Subject) -> Iterator[Problem]:
    """Yield slots and credentials that are unknown, and trigger secrets that are missing."""
    for node in subject.document.nodes:
        spec = subject.specs.get(node.id)
        if spec is None:
            continue
        for slot, credential in node.credentials.items():
            yield from _named(subject, node, spec, slot, credential)
        if is_trigger(node):
            yield from _missing(subject, node, spec)


def _named(
    subject: Subject, node: Node, spec: NodeSpec, slot: str, credential: str
) -> Iterator[Problem]:
    place = pointer("credentials", slot)
    slots = [known.name for known in spec.credentials]
    if slot not in slots:
        listed = ", ".join(slots) or "none"
        message = f"{spec.type} has no credential slot {slot!r:.80}; its slots are {listed}"
        yield subject.problem(node.id, place, "unknown_credential", message)
    elif subject.credentials is not None and credential not in subject.credentials:
        message = f"there is no credential {credential!r:.80} for the slot {slot}; name one that exists, or leave {slot} out"
        yield subject.problem(node.id, place, "unknown_credential", message)
    elif subject.credentials is not None and not _fits(slot, subject.credentials[credential]):
        found = subject.credentials[credential]
        message = f"the credential {credential!r:.80} is of type {found}, and the slot {slot} takes its own type; name another"
        yield subject.problem(node.id, place, "unknown_credential", message)


def _fits(slot: str, credential_type: str) -> bool:
    """Whether a slot takes credentials of a type: its own, or any where the slot is not one of ours."""
    return slot not in TYPE_NAMES or credential_type == slot


def _missing(subject: Subject, node: Node, spec: NodeSpec) -> Iterator[Problem]:
    needed = [slot.name for slot in spec.credentials if slot.required]
    is_verified = node.type == WEBHOOK_TRIGGER and _authentication(node, spec) != "NONE"
    if is_verified:
        needed.append("webhook")
    for slot in dict.fromkeys(needed):
        if slot not in node.credentials:
            place = pointer("credentials", slot)
            message = f"whoever calls {node.id!r} must be verified: name a credential in credentials.{slot}"
            if is_verified:
                message += ", or set authentication to NONE, which lets everybody in"
            yield subject.problem(node.id, place, "credential_missing", message)


def _authentication(node: Node, spec: NodeSpec) -> object:
    declared = spec.parameter("authentication")
    return node.parameters.get("authentication", declared.default if declared else None)
