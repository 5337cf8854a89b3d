"""Claims of workers: what an attempt may ask for, proved by the token of its task."""

from typing import Final

import structlog

from bus.services import CallRefused
from contracts.payloads import Claim
from scheduler.tokens import Tokens

log: Final = structlog.get_logger()


def check(tokens: Tokens, claim: Claim, *, event: str) -> None:
    """Refuse a claim without the token of its attempt; that is logged as `event`. Raises CallRefused."""
    if not tokens.fits(claim.token, claim.execution_id, claim.key, claim.attempt):
        log.warning(event, execution_id=claim.execution_id, node_id=claim.node_id)
        raise CallRefused("403", "the token is not that of this attempt")
