"""From text to a playbook."""

from noetl_engine.playbook.parse.document import Reading, parse_playbook, read_document

__all__ = ["Reading", "parse_playbook", "read_document"]
