"""The whole engine, as the processes that production runs."""
