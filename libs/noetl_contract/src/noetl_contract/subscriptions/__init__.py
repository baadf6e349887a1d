"""What a subscription says, and what becomes of its messages; the edge and the runtime read it."""
