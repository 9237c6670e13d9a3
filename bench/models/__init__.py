"""What SuperPoint is: network, weights, SavedModel, conversion to OpenVINO, graph fingerprint."""
