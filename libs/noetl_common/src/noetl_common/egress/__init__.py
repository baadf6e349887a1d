"""Where connections that others ask for may lead."""
