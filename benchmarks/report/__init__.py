"""Results of a run, and their forms: text, JSON, plots and the page of the documentation."""
