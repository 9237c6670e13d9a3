"""Errors a user can act on. The message says what was wrong, where, and what to do next."""

from __future__ import annotations


class BenchError(Exception):
    """Base of every error that the command line prints as one message without a traceback.

    Attributes
    ----------
    exit_code : int
        Of the command that ends with this error: 4 where the input has to change, 1 where the same command may succeed
        another time. `bench check` ends with 4 in both cases, because its 1 is a verdict.
    """

    exit_code = 4


class ConfigError(BenchError):
    """A configuration value is unknown, of the wrong type, or impossible."""


class DataError(BenchError):
    """An image, a homography file, an archive or a data set is missing, corrupt or refused."""


class DownloadError(DataError):
    """A server cannot be reached, or sends something else than what was published."""

    exit_code = 1


class ModelError(BenchError):
    """A model, its weights, its conversion or a requested precision is missing or refused."""


class FeatureError(BenchError):
    """Keypoints, scores or descriptors break the contract of :class:`bench.core.types.Features`."""


class StoreError(BenchError):
    """A run directory, a baseline or another folder of ours cannot be read, written or continued."""


class DiskFullError(StoreError):
    """The disk is full: nothing is wrong with the command, which can be repeated."""

    exit_code = 1


class WorkerError(BenchError):
    """A method's worker process failed or died."""

    exit_code = 1
