"""Every call of the API, described without making it: both clients are made of these."""
