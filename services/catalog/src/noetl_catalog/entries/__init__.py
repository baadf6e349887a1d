"""Documents, their versions and the reads of them."""
