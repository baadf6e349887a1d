"""The tools, one file a kind, found by the entry-point group ``noetl.tools``."""
