"""Pure functions of arrays, one file a metric."""
