"""What computes a network: one file a runtime."""
