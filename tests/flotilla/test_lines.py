"""A process whose reader is gone goes on, and stops when it is asked to."""

import os
import signal
import subprocess
import sys

PROGRAM = """
import asyncio, os, signal, structlog
from flotilla.stopping import stopping_on_signals
from flotilla.telemetry import logs

async def main():
    stop = asyncio.Event()
    with stopping_on_signals(stop):
        os.write(3, b"x")
        await stop.wait()

logs.set_up("test", level="INFO", format="json")
structlog.get_logger().info("nobody_reads_this")
asyncio.run(main())
os.write(3, b"y")
os._exit(0)
"""


def test_a_process_whose_logs_nobody_reads_stops_in_order() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said, saying = os.pipe()
    move = f"import os; os.dup2({saying}, 3)\n" if saying != 3 else ""
    process = subprocess.Popen(
        [sys.executable, "-c", move + PROGRAM], stdout=writing, pass_fds=(saying,)
    )
    os.close(writing)
    os.close(saying)
    assert os.read(said, 1) == b"x"

    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 0
    assert os.read(said, 1) == b"y"
    os.close(said)
