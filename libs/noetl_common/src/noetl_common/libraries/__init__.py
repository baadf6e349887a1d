"""The program uv: it resolves requirements and installs locks."""
