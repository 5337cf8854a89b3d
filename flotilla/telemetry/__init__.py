"""What the processes tell about themselves: logs, always, and traces, where somebody collects them."""
