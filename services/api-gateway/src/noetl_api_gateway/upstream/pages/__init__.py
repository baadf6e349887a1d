"""What open web pages hear: changes of executions, and the results that they wait for."""
