"""The face and the composition root: command line, settings, telemetry, embedded servers, and what each process is made of."""
