"""Fingerprints of failures: playbook, step and the message without its numbers."""

import hashlib
import re

_LONGEST = 300
_VARIABLE = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.:+Z-]*"), "<time>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\d+(?:\.\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)


def pattern_of(message: str) -> str:
    """Return a message without numbers, ids, times and addresses."""
    # Long texts are cut before and after: a replacement may be longer or shorter.
    text = message[: 4 * _LONGEST]
    for variable, word in _VARIABLE:
        text = variable.sub(word, text)
    return text.strip()[:_LONGEST]


def fingerprint_of(*, path: str, step: str | None, message: str) -> str:
    """Return the fingerprint of a failure, 16 hexadecimal digits."""
    said = "\n".join((path, step or "", pattern_of(message)))
    return hashlib.sha256(said.encode()).hexdigest()[:16]
