"""Messages between the NoETL services, and between them and the outside."""
