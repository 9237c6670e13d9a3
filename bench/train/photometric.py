"""Photometric augmentation: what another hour, lamp, lens or sensor does to the grey values of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from bench.schema.values import Probability, Range

Array = npt.NDArray[Any]
Strength = Annotated[float, Range(0, 3, "nothing would be left to see")]


@dataclass
class PhotometricConfig:
    """Probabilities and largest strengths of the changes, applied in this order."""

    shading: Probability = 0.5
    """Probability of a smooth field of light multiplied onto the image."""
    shading_log_gain: Strength = 0.7
    """Standard deviation of the field's natural logarithm."""
    gamma_log: Strength = 0.5
    """The logarithm of gamma is uniform in plus or minus this."""
    gain_log: Strength = 0.4
    """The logarithm of the gain is uniform in plus or minus this."""
    bias: Strength = 0.15
    """The offset is uniform in plus or minus this, in units of white."""
    blur: Probability = 0.4
    """Probability of a Gaussian blur."""
    blur_sigma_px: Annotated[float, Range(0.2, 10, "nothing would be left to see")] = 1.3
    """Largest standard deviation of the blur."""
    motion_blur: Probability = 0.1
    """Probability of a motion blur of 3 to 7 px."""
    noise: Probability = 0.7
    """Probability of Gaussian noise."""
    noise_sigma: Strength = 0.04
    """Largest standard deviation of the noise, in units of white."""
    strength: Strength = 1.0
    """Factor on all strengths (not on the probabilities)."""


def augment(rng: np.random.Generator, image: Array, config: PhotometricConfig) -> Array:
    """Change the grey values of an image at random; no pixel moves.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where every random number comes from.
    image : (H, W) float32 in [0, 1]
    config : PhotometricConfig

    Returns
    -------
    (H, W) float32 in [0, 1]
    """
    import cv2

    height, width = image.shape
    k = config.strength
    if rng.random() < config.shading:
        knots = rng.normal(0.0, rng.uniform(0.0, config.shading_log_gain) * k, tuple(rng.integers(2, 6, 2)))
        field = cv2.resize(knots.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        image = image * np.exp(field)
    gamma = np.exp(rng.uniform(-config.gamma_log, config.gamma_log) * k)
    gain = np.exp(rng.uniform(-config.gain_log, config.gain_log) * k)
    bias = rng.uniform(-config.bias, config.bias) * k
    image = np.clip(np.power(np.clip(image, 0.0, None), gamma, dtype=np.float32) * gain + bias, 0.0, 1.0)
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.2, config.blur_sigma_px) * k + 1e-3)
    if rng.random() < config.motion_blur:
        length = int(rng.choice((3, 5, 7)))
        kernel = np.zeros((length, length), np.float32)
        direction = rng.uniform(0.0, np.pi)
        centre = (length - 1) / 2
        arm = np.array([np.cos(direction), np.sin(direction)]) * centre
        ends = np.rint(np.stack([centre - arm, centre + arm])).astype(int)
        cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    if rng.random() < config.noise:
        sigma = rng.uniform(0.0, config.noise_sigma) * k
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(image, 0.0, 1.0).astype(np.float32)
