"""Tools that run scripts: python, shell and, in Kubernetes, script."""
