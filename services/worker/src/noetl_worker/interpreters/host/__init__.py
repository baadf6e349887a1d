"""Code of warm interpreters, outside of our environment; see `noetl_worker.hosting.host`."""
