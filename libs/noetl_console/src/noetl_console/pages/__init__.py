"""The pages: each asks the API and names the template that shows the answers."""
