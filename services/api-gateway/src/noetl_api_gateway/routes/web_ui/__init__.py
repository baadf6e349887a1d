"""Routes of the web UI, beyond those that programs use."""
