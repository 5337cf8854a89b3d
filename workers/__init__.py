"""Workers carry out tasks: they pull attempts of some node types, call the handlers and report results.

`worker.run_worker` is the process, `attempt` the life of one attempt, `slots` how many run at once and
which next. A worker knows NATS through `bus` and needs nothing else: no database, no engine settings.
"""
