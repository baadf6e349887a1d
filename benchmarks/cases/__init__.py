"""Cases of the benchmark, each under a name."""
