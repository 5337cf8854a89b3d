"""Child processes that end with their parent, even when it is killed with SIGKILL.

Linux alone can promise it (PR_SET_PDEATHSIG). Elsewhere nothing happens here, and what a killed parent leaves running is
found and stopped by the next start (`flotilla.embedded.leftovers`).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What to run in a child before its program (`preexec_fn`) so that it gets `death_signal` when its parent dies.

    The parent is the *thread* that starts the child: start children from a thread that lives as long as they should.
    Python runs `preexec_fn` after it has changed the user, which would have cleared the request.
    """
    if not sys.platform.startswith("linux"):
        return None
    # Looked up before the fork: the child of a process with threads had better not load anything.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_for_signal() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return ask_for_signal
