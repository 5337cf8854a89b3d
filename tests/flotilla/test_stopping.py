"""A process runs until a signal, drains, and ends; a second signal does not wait."""

import signal

import pytest

from tests.support import processes

PROGRAM = """
    import asyncio
    from flotilla.stopping import run_until_stopped

    async def main(stop):
        print("runs", flush=True)
        await stop.wait()
        print("drains", flush=True)
        await asyncio.sleep({drain})
        print("is over", flush=True)

    run_until_stopped(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_it_drain(number: signal.Signals) -> None:
    with processes.program(PROGRAM.format(drain=0)) as program:
        assert program.line() == "runs"

        program.signal(number)

        assert "stop_asked" in program.line()
        assert (program.line(), program.line()) == ("drains", "is over")
        assert program.wait() == 0


def test_the_second_signal_ends_it_at_once() -> None:
    with processes.program(PROGRAM.format(drain=3600)) as program:
        program.line()
        program.signal(signal.SIGTERM)
        program.line()
        assert program.line() == "drains"

        program.signal(signal.SIGTERM)

        assert program.wait() == 128 + signal.SIGTERM


def test_what_is_raised_ends_it_with_a_trace() -> None:
    with processes.program(PROGRAM.replace("await stop.wait()", "raise ValueError")) as program:
        program.line()

        assert program.wait() == 1
