"""What history means: a workflow version compiled into a plan, and the fold of events into a state.

The scheduler decides on this state and the gateway shows it. Both fold the same events with the same
function, so no second copy of an execution's state can disagree with its history.
"""
