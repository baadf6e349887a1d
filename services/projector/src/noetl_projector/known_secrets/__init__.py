"""Secret values of executions, to be masked in answers wherever they stand."""
