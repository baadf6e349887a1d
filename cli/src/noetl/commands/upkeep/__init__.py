"""Commands that keep an installation: backups, and what was given up."""
