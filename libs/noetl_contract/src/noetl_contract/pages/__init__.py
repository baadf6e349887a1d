"""What edges and open web pages say to each other."""
