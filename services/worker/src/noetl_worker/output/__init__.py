"""Lines that running tools print, for watchers of their executions."""
