"""The tools, found by the entry-point group ``noetl.tools``; the file has the kind's name."""
