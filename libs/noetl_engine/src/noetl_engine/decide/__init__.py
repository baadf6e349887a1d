"""One module per behaviour: what each input makes of an execution."""
