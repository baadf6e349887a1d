"""Commands that keep an installation: backups, dead letters and parked rows."""
