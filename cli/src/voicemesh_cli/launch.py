"""Becomes a service that does not outlive the supervisor: `python -S launch.py SUPERVISOR-PID COMMAND ARGUMENTS …`.

A program of its own, because the same lines between fork and exec (`preexec_fn`) would run in a copy of a process that
has gRPC's threads, where gRPC's own fork handlers now and then abort the child.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(supervisor: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            return  # it died before the line above
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
