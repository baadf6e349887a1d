"""Frames between the worker and a warm interpreter.

A job is a length and JSON; a report is a mark, a length and JSON; a control record is
``(kind, pid, wait status)``.
"""

import struct

CONTROL = struct.Struct("<4sii")
LENGTH = struct.Struct("<Q")
REPORT_MARK = b"NRES"
READY = b"REDY"
"""A process waits for a job."""
ENDED = b"ENDD"
"""The process is gone, and whatever it left behind."""
