"""The release gate: a candidate run against a baseline, with paired cluster statistics."""
