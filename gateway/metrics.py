"""The gateway's metrics. No label names a user, a workflow, or an execution."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from db.verification import Outcome

MEDIA_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counters of one gateway, in a registry of their own, so that tests can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "flotilla_gateway_requests",
            "Requests by route, method and status",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "flotilla_gateway_request_seconds",
            "Time from the first byte to the end of the answer, streams left out",
            ("route", "method"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.executions_created = Counter(
            "flotilla_gateway_executions_created", "Executions accepted", registry=self.registry
        )
        self.webhooks_filtered = Counter(
            "flotilla_gateway_webhooks_filtered",
            "Deliveries that started nothing, because the filter of their trigger did not let them through",
            registry=self.registry,
        )
        self.streams = Gauge(
            "flotilla_gateway_event_streams", "Readers of event streams", registry=self.registry
        )
        self.starts_unpublished = Counter(
            "flotilla_gateway_starts_unpublished",
            "Committed executions whose start did not reach NATS; the sweeper finds them",
            registry=self.registry,
        )

        self.verify_findings = Gauge(
            "flotilla_verify_findings",
            "What the last `flotilla verify` of this installation found, by check",
            ("check",),
            registry=self.registry,
        )
        self.verify_last_run = Gauge(
            "flotilla_verify_last_run_timestamp_seconds",
            "When the last `flotilla verify` of this installation ended, 0 if there was none",
            registry=self.registry,
        )

    def verified(self, outcomes: Iterable[Outcome]) -> None:
        """Show what the last verification found."""
        for outcome in outcomes:
            self.verify_findings.labels(outcome.check).set(outcome.findings)
            self.verify_last_run.set(outcome.ran_at)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request that is over."""
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, status).inc()
        if not route.endswith("/events"):
            self._seconds.labels(route, method).observe(seconds)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
