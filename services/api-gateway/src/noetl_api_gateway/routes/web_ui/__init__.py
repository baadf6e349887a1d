"""What the web UI asks for beyond the routes that programs use."""
