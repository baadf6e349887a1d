"""What the NoETL services say to each other and to the outside."""
