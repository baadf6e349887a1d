"""Messages to open web pages: changes of executions, and the results that they wait for."""
