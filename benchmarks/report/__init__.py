"""What a run found out, and its forms: text, JSON, plots and the page of the documentation."""
