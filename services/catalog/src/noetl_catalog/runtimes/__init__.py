"""Workers, edges and machine ids."""
