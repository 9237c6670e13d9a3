"""The floor everything stands on: types that flow, errors, files, progress."""
