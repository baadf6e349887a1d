"""Lines that running tools print, for those who watch."""
