"""The engine in a simulated world: one seed decides everything that happens, also everything that goes wrong.

The decision core, the loop and what feeds it are the real ones. Time, PostgreSQL, NATS, workers and gateway are simulated:
nothing waits for a clock, a socket or a thread, so that hours pass in milliseconds and a run can be repeated to the byte.

    python -m tests.simulator --seed 1234              what happened under one seed
    python -m tests.simulator --seeds 10000 --report   so many seeds, and what they came across

A world is put together in `simulation.py`. What can be met in it stands in tables:
what may go wrong in `chaos.py`, what workflows consist of, how attempts end and what people ask for in `shapes.py`, what must
hold in `witness.py` and `verdict.py`.
"""
