"""The process that advances executions: a thin shell around the pure decisions of `scheduler.core`."""
