"""Messages between the NoETL services, and between them and the outside."""

# size: each module is what is said about one thing, found by its name
