"""What can go wrong between us and NATS: one root, one leaf per answer that a caller can give.

BusError
 |- BusClosed                the connection is closed for good: a bug, or the process should go down
 |- BusUnavailable           no connection, or no answer in time: try again later
 |   `- NoResponders         nobody listens on the subject
 |- PayloadTooLarge          never sent: no retry helps
 |- InvalidSubject           never sent: no retry helps
 |- ApiError                 JetStream answered with an error
 |- ProvisioningError        a stream or consumer cannot be made what it is declared to be
 `- PublishFailed            the acknowledgement of a JetStream publish was not a good one
     |- StreamFull           not stored: try again when something was taken out
     |- NoStream             not stored: provision first
     |- PublishRefused       not stored: the server does not want this message
     `- PublishInDoubt       stored or not: publish again under the same identity
"""

from collections.abc import Sequence


class BusError(Exception):
    """The root of everything that `bus` raises."""


class BusClosed(BusError):
    """The connection was closed, by us or for good by the server, and comes back no more."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the connection to NATS is closed: {reason}")


class BusUnavailable(BusError):
    """NATS cannot be reached or did not answer in time. Whether a request was carried out is unknown."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"NATS is unavailable: {reason}")


class NoResponders(BusUnavailable):
    """Nobody answers on a subject at present; the request was not carried out."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(f"nobody answers on {subject}")


class PayloadTooLarge(BusError):
    """A message is larger than the server takes; it was not sent."""

    def __init__(self, subject: str, *, size: int, limit: int) -> None:
        self.subject = subject
        self.size = size
        self.limit = limit
        super().__init__(
            f"{size} bytes for {subject} are more than the {limit} that the server takes"
        )


class InvalidSubject(BusError):
    """A subject or header cannot be written in the protocol; the message was not sent."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(f"{subject!r} is no subject, or a header of the message is none")


class ApiError(BusError):
    """JetStream refused a request to its API. `code` is its own (`err_code`), such as 10059."""

    def __init__(self, request: str, *, code: int, description: str) -> None:
        self.request = request
        self.code = code
        self.description = description
        super().__init__(f"JetStream refused {request}: {description} ({code})")


class ProvisioningError(BusError):
    """A stream or consumer exists with other settings, and the server refuses to change them."""

    def __init__(self, name: str, *, differences: Sequence[str], reason: str) -> None:
        self.name = name
        self.differences = tuple(differences)
        self.reason = reason
        super().__init__(f"{name} cannot be changed ({reason}): {'; '.join(differences)}")


class PublishFailed(BusError):
    """A JetStream publish was not acknowledged as stored or still there."""

    def __init__(self, subject: str, reason: str) -> None:
        self.subject = subject
        self.reason = reason
        super().__init__(f"publishing to {subject} failed: {reason}")


class StreamFull(PublishFailed):
    """The stream or the server has no room at present; the message was not stored."""


class NoStream(PublishFailed):
    """No stream listens on the subject; the message was not stored."""


class PublishRefused(PublishFailed):
    """The server refused the message for another reason, which is in the log; it was not stored."""


class PublishInDoubt(PublishFailed):
    """No acknowledgement came: the message may be stored, now or after a reconnect, or lost."""
