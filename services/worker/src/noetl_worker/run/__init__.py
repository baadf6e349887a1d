"""From a command to its outcome: policies, pipelines, results and reports."""
