"""What `flotilla up` says once everything is ready."""

import shutil
from collections.abc import Collection, Sequence
from shlex import quote
from urllib.parse import urlsplit, urlunsplit

from flotilla.children import Told
from flotilla.samples import Sample


def text(
    told: Told,
    samples: Sequence[Sample],
    *,
    given: Collection[str],
    monitoring_url: str | None,
    seconds: float,
) -> str:
    """Addresses, the token, and lines to copy.

    Args:
        given: Variables of servers that are not ours; their passwords are left out.
        monitoring_url: NATS' own pages, if we have started it.
    """
    addresses = told.addresses
    url = addresses.gateway_url
    lines = [
        "",
        f"Flotilla is ready at {url} after {seconds:.1f} s",
        "",
        f"  gateway     {url}",
        f"  docs        {url}/docs",
        f"  PostgreSQL  {_shown(addresses.database_url, is_given='DATABASE_URL' in given)}",
        f"  NATS        {_shown(addresses.nats_url, is_given='NATS_URL' in given)}",
        *([f"  NATS pages  {monitoring_url}"] if monitoring_url else []),
        f"  Redis       {_shown(addresses.redis_url, is_given='REDIS_URL' in given)}",
        f"  namespace   {told.namespace}",
        f"  token       {told.dev_token}",
        "",
        *_invitations(told, samples, given),
        "Stop everything with Ctrl-C.",
    ]
    return "\n".join(lines)


def _invitations(told: Told, samples: Sequence[Sample], given: Collection[str]) -> list[str]:
    if not samples:
        return ["No samples were found here: they come with a clone of the repository.", ""]
    sample = samples[0]
    return [
        f"Run the sample {sample.name!r} and wait for its table:",
        f"  {run_line(told, sample)}",
        "Run it and watch its events as they happen:",
        f"  {watch_line(told, sample)}",
        "The same in the terminal:",
        f"  {_program()} run {quote(sample.name)} --wait",
        "Scale one fleet: start as many of these as you like, in other terminals:",
        f"  {_worker_line(told, given)}",
        "",
    ]


def _program() -> str:
    """How to call this program from the folder that `up` was started in."""
    return "flotilla" if shutil.which("flotilla") else ".venv/bin/flotilla"


def _worker_line(told: Told, given: Collection[str]) -> str:
    """Starts another worker that may reach what the one of `up` may."""
    hosts = ",".join((*told.allowed_private_hosts, told.addresses.authority))
    nats_url = _shown(told.addresses.nats_url, is_given="NATS_URL" in given)
    environment = f"NATS_URL={quote(nats_url)} ALLOWED_PRIVATE_HOSTS={quote(hosts)}"
    return f"{environment} {_program()} worker --types ACTION.HTTP_REQUEST"


def run_line(told: Told, sample: Sample) -> str:
    """Runs the sample and waits for its end."""
    return f"curl -sS {_authorization(told)} {_execute(told, sample, query='?wait=30')}"


def watch_line(told: Told, sample: Sample) -> str:
    """Runs the sample and streams the events of that execution: the place to look comes in the header Location."""
    located = f"curl -sS -o /dev/null -D - {_authorization(told)} {_execute(told, sample)}"
    place = f"$({located} | tr -d '\\r' | sed -n 's/^location: //Ip')"
    return f'curl -sSN {_authorization(told)} "{told.addresses.gateway_url}{place}/events"'


def _authorization(told: Told) -> str:
    return f"-H {quote(f'Authorization: Bearer {told.dev_token}')}"


def _execute(told: Told, sample: Sample, *, query: str = "") -> str:
    path = f"/v1/workflows/{sample.workflow_id}/execute{query}"
    return (
        f"-H 'Content-Type: application/json' -d '{{}}' {quote(told.addresses.gateway_url + path)}"
    )


def _shown(url: str, *, is_given: bool) -> str:
    """The URL of a server of our own as it is, of another one without its password."""
    parts = urlsplit(url)
    if not is_given or parts.password is None:
        return url
    name = f"{parts.username}:***@" if parts.username else "***@"
    return urlunsplit(parts._replace(netloc=name + parts.netloc.rpartition("@")[2]))
