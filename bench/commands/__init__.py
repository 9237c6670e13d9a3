"""One file a command: its configuration, its main, its sentences."""
