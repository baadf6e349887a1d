"""Commands of `noetl-server`, one module per group."""
