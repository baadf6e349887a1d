"""Frames between the worker and a warm interpreter.

A job is a frame whose head says whether the process may wait for another one; a report is a mark,
a length and JSON; a control record is ``(kind, pid, wait status)``.
"""

import struct

CONTROL = struct.Struct("<4sii")
STALE = 64
"""Signal by which a process ends that was changed by a script, leaving the next job unread."""
LENGTH = struct.Struct("<Q")
REPORT_MARK = b"NRES"
READY = b"REDY"
"""A process waits for a job."""
ENDED = b"ENDD"
"""The process is gone, with all leftovers."""
LEFT = b"LEFT"
"""The same, but it has left its next job for the next process to read."""
