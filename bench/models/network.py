"""The SuperPoint network, defined once in Keras 3.

The layer table below is the only description of the architecture: the Keras model, the weight files and the exported
TensorFlow graph are all built from it.  Names, order (convolution, ReLU, batch normalisation) and constants are those
of the published sp_v6 graph.

References
----------
DeTone, Malisiewicz, Rabinovich: SuperPoint: Self-Supervised Interest Point Detection and Description, CVPRW 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

CELL_PX = 8
"""Side of the square of pixels that one output cell stands for."""
DETECTOR_CHANNELS = CELL_PX * CELL_PX + 1
"""One channel per pixel of a cell and one, the last, for "no keypoint here"."""
DESCRIPTOR_CHANNELS = 256
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99

Part = Literal["vgg", "detector", "descriptor"]


@dataclass(frozen=True)
class LayerSpec:
    """One convolution block: convolution, optional ReLU, batch normalisation, optional 2x2 max-pooling."""

    part: Part
    name: str
    kernel_px: int
    channels_in: int
    channels_out: int
    relu: bool
    pool: bool

    @property
    def scope(self) -> str:
        """Scope of the block's variables in the sp_v6 graph, such as ``superpoint/vgg/conv1_1``."""
        return f"superpoint/{self.part}/{self.name}"


ENCODER: tuple[LayerSpec, ...] = (
    LayerSpec("vgg", "conv1_1", 3, 1, 64, relu=True, pool=False),
    LayerSpec("vgg", "conv1_2", 3, 64, 64, relu=True, pool=True),
    LayerSpec("vgg", "conv2_1", 3, 64, 64, relu=True, pool=False),
    LayerSpec("vgg", "conv2_2", 3, 64, 64, relu=True, pool=True),
    LayerSpec("vgg", "conv3_1", 3, 64, 128, relu=True, pool=False),
    LayerSpec("vgg", "conv3_2", 3, 128, 128, relu=True, pool=True),
    LayerSpec("vgg", "conv4_1", 3, 128, 128, relu=True, pool=False),
    LayerSpec("vgg", "conv4_2", 3, 128, 128, relu=True, pool=False),
)
DETECTOR_HEAD: tuple[LayerSpec, ...] = (
    LayerSpec("detector", "conv1", 3, 128, 256, relu=True, pool=False),
    LayerSpec("detector", "conv2", 1, 256, DETECTOR_CHANNELS, relu=False, pool=False),
)
DESCRIPTOR_HEAD: tuple[LayerSpec, ...] = (
    LayerSpec("descriptor", "conv1", 3, 128, 256, relu=True, pool=False),
    LayerSpec("descriptor", "conv2", 1, 256, DESCRIPTOR_CHANNELS, relu=False, pool=False),
)


def layer_specs(descriptors: bool = True) -> tuple[LayerSpec, ...]:
    """All blocks of the network, in the order of their variables.

    Parameters
    ----------
    descriptors : bool
        True for SuperPoint, False for MagicPoint, which has no descriptor head.
    """
    return ENCODER + DETECTOR_HEAD + (DESCRIPTOR_HEAD if descriptors else ())


@cache
def _batch_normalization_class() -> type[keras.layers.BatchNormalization]:
    """Keras batch normalisation that uses PyTorch's fused kernel where PyTorch is the backend.

    Keras computes it on PyTorch from element-wise operations in float32; the fused kernel gives the same values
    (statistics in float32 as well, but for the unbiased variance in the moving average) in fewer passes over memory.
    """
    import keras

    plain: type[keras.layers.BatchNormalization] = keras.layers.BatchNormalization
    if keras.backend.backend() != "torch":
        return plain

    import torch

    class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            outputs = torch.nn.functional.batch_norm(
                inputs.movedim(-1, 1),
                self.moving_mean.value,
                self.moving_variance.value,
                self.gamma.value,
                self.beta.value,
                training=bool(training) and self.trainable,
                momentum=1.0 - self.momentum,
                eps=self.epsilon,
            )
            return outputs.movedim(1, -1)

    return FusedBatchNormalization


def build_network(descriptors: bool = True, dtype: str = "float32") -> keras.Model:
    """Build the network with fresh random weights.

    Parameters
    ----------
    descriptors : bool
        True for SuperPoint, False for MagicPoint.
    dtype : str
        Keras dtype policy: ``float32``, or ``mixed_bfloat16`` for bfloat16 convolutions over float32 weights.

    Returns
    -------
    keras.Model
        Input: float32 [N, H, W, 1] in [0, 1].  Output: dict with ``logits``, float32 [N, ceil(H/8), ceil(W/8), 65],
        and, with descriptors, ``descriptors_raw``, float32 [N, ceil(H/8), ceil(W/8), 256], not normalised.
    """
    import keras

    batch_normalization = _batch_normalization_class()

    def block(features: Any, spec: LayerSpec) -> Any:
        name = f"{spec.part}_{spec.name}"
        features = keras.layers.Conv2D(
            spec.channels_out,
            spec.kernel_px,
            padding="same",
            activation="relu" if spec.relu else None,
            kernel_initializer="he_normal" if spec.relu else "glorot_uniform",
            data_format="channels_last",
            dtype=dtype,
            name=f"{name}_conv",
        )(features)
        features = batch_normalization(
            axis=-1, epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, dtype=dtype, name=f"{name}_bn"
        )(features)
        if spec.pool:
            features = keras.layers.MaxPooling2D(
                2, padding="same", data_format="channels_last", dtype=dtype, name=f"{name}_pool"
            )(features)
        return features

    image = keras.Input(shape=(None, None, 1), dtype="float32", name="image")
    encoded: Any = image
    for spec in ENCODER:
        encoded = block(encoded, spec)
    heads: dict[str, tuple[LayerSpec, ...]] = {"logits": DETECTOR_HEAD}
    if descriptors:
        heads["descriptors_raw"] = DESCRIPTOR_HEAD
    outputs = {}
    for key, head in heads.items():
        features = encoded
        for spec in head:
            features = block(features, spec)
        outputs[key] = keras.layers.Activation("linear", dtype="float32", name=key)(features)
    return keras.Model(image, outputs, name="superpoint" if descriptors else "magicpoint")
