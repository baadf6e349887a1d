"""Where secrets of playbooks' keychains come from (http-a 7.6)."""
