"""What SuperPoint is: network, weights, SavedModel, graph fingerprint."""
