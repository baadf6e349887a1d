"""Programs of ours as forks of one process that has loaded all they need."""
