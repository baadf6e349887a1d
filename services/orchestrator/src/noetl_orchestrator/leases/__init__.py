"""Watch over commands, timers and children that outlive a turn."""
