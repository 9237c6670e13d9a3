"""From the maps of a network to features."""
