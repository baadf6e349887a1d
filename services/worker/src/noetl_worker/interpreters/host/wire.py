"""Frames between the worker and a warm interpreter.

A job is a head and JSON; a report is a mark, a length and JSON; a control record is
``(kind, pid, wait status)``.
"""

import struct

CONTROL = struct.Struct("<4sii")
PID = struct.Struct("<i")
JOB = struct.Struct("<?Q")
"""Head of a job: whether the process may wait for another one, and the length."""
STALE = 64
"""Signal by which a process ends that was changed by a script, leaving the next job unread."""
LENGTH = struct.Struct("<Q")
REPORT_MARK = b"NRES"
READY = b"REDY"
"""A process waits for a job."""
ENDED = b"ENDD"
"""The process is gone, and whatever it left behind."""
LEFT = b"LEFT"
"""The same, but it has left its next job for the next process to read."""
