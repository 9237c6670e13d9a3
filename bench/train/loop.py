"""The training loop of a stage: steps, log, loss plot, checkpoints.  It is the same for every Keras backend."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import ConfigError, ModelError
from bench.core.files import staged_file
from bench.core.progress import progress
from bench.models.weights import network_variables, network_weights, save_weights
from bench.train.backend import compiled
from bench.train.config import OptimizerConfig
from bench.train.data import Batch

if TYPE_CHECKING:
    import keras

Losses = Callable[[Any, Any], dict[str, Any]]
"""(targets, outputs) -> named scalars; the sum of all is minimised."""


@dataclass(frozen=True)
class Stage:
    """What a stage trains: a network, on which batches, with which losses, for how long."""

    name: str
    network: keras.Model
    batch: Callable[[int], Batch]
    losses: Losses
    loss_names: tuple[str, ...]
    steps: int
    optimizer: OptimizerConfig
    compile: bool
    """PyTorch only: compile the network, which takes a minute and makes a step on a CPU three times as fast."""
    settings: Mapping[str, Any]
    """Everything that decides the result, as JSON values.  A checkpoint made with other settings is refused."""


@dataclass(frozen=True)
class Cadence:
    """How often a stage writes its log and its checkpoint."""

    log_every_steps: int
    checkpoint_every_s: float


def _make_learner(stage: Stage) -> Any:
    import keras
    from keras import ops

    class OneCycle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        """Linear warm-up to the peak, then a cosine to zero."""

        def __call__(self, step: Any) -> Any:
            done = ops.cast(step, "float32") / stage.steps
            warmup = max(stage.optimizer.warmup, 1e-6)
            falling = ops.clip((done - warmup) / (1.0 - warmup), 0.0, 1.0)
            rising = 0.04 + 0.96 * done / warmup
            return stage.optimizer.learning_rate * ops.where(
                done < warmup, rising, 0.5 * (1.0 + ops.cos(np.pi * falling))
            )

        def get_config(self) -> dict[str, Any]:
            return {}

    class Learner(keras.Model):  # type: ignore[misc]
        """The network with the losses of the stage and a running mean of each."""

        def __init__(self) -> None:
            super().__init__()
            self.network = stage.network
            self.run_network = compiled(stage.network) if stage.compile else stage.network
            self.means = [keras.metrics.Mean(name=name) for name in stage.loss_names]

        def call(self, images: Any, training: bool | None = None) -> Any:
            return self.run_network(images, training=training)

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            parts = stage.losses({key: ops.convert_to_tensor(value) for key, value in y.items()}, y_pred)
            for mean in self.means:
                mean.update_state(parts[mean.name])
            return sum(parts.values())

    learner = Learner()
    optimizer = keras.optimizers.AdamW(
        OneCycle(), weight_decay=stage.optimizer.weight_decay, beta_2=0.99, global_clipnorm=stage.optimizer.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    learner.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    optimizer.build(stage.network.trainable_variables)
    return learner


def _write_checkpoint(path: Path, stage: Stage, learner: Any, step: int) -> None:
    import keras

    arrays = {f"network/{name}": value for name, value in network_weights(stage.network).items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise _diverged(stage, step, path)
    for i, variable in enumerate(learner.optimizer.variables):
        arrays[f"optimizer/{i}"] = np.asarray(keras.ops.convert_to_numpy(variable))
    settings = json.dumps(stage.settings, sort_keys=True)
    with staged_file(path) as part, part.open("wb") as file:
        np.savez(file, step=np.int64(step), settings=np.str_(settings), **arrays)  # type: ignore[arg-type]


def _diverged(stage: Stage, step: int, checkpoint: Path) -> ModelError:
    return ModelError(
        f"{stage.name}: loss or weights are not finite at step {step}; lower {stage.name}.optimizer.learning_rate; "
        f"the last good state is in {checkpoint}"
    )


def _read_checkpoint(path: Path, stage: Stage, learner: Any) -> int:
    """Restore network and optimizer; returns the number of finished steps."""
    with np.load(path, allow_pickle=False) as archive:
        recorded = json.loads(str(archive["settings"]))
        refuse_other_settings(path, recorded, stage.settings)
        for name, variable in network_variables(stage.network).items():
            variable.assign(archive[f"network/{name}"])
        for i, variable in enumerate(learner.optimizer.variables):
            variable.assign(archive[f"optimizer/{i}"])
        return int(archive["step"])


def refuse_other_settings(path: Path, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ConfigError if something was made with settings other than the wanted ones."""
    wanted = json.loads(json.dumps(wanted))
    different = sorted(key for key in {*recorded, *wanted} if recorded.get(key) != wanted.get(key))
    if different:
        key = different[0]
        raise ConfigError(
            f"{path}: was made with other settings: {key}={recorded.get(key)!r}, now {wanted.get(key)!r}; "
            "give the same settings to continue it, or another out=DIR to start anew"
        )


def _read_log(path: Path, last_step: int) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= last_step]


def _write_log(path: Path, rows: list[dict[str, str]]) -> None:
    if not rows:
        return
    with staged_file(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot_losses(path: Path, title: str, rows: list[dict[str, str]], names: tuple[str, ...]) -> None:
    """Draw the logged losses over the steps as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    steps = [int(row["step"]) for row in rows]
    for name in names:
        axes.plot(steps, [float(row[name]) for row in rows], label=name, linewidth=1)
    axes.set(xlabel="step", ylabel="loss (mean since the last entry)", title=title, yscale="log")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110, format="png")


def fit(stage: Stage, directory: Path, cadence: Cadence) -> Path:
    """Run a stage to its end, from its checkpoint where there is one.

    Parameters
    ----------
    stage : Stage
        What to train.
    directory : Path
        Gets ``checkpoint.npz``, ``log.csv``, ``losses.png``, and at the end ``weights.npz``.
    cadence : Cadence
        How often to write.

    Returns
    -------
    Path
        ``weights.npz``.

    Raises
    ------
    ConfigError
        If the directory holds a training with other settings.
    ModelError
        If the loss stops being finite.
    """
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint, log, weights = (directory / name for name in ("checkpoint.npz", "log.csv", "weights.npz"))
    learner = _make_learner(stage)
    step = _read_checkpoint(checkpoint, stage, learner) if checkpoint.is_file() else 0
    rows = _read_log(log, step)
    if step == stage.steps and weights.is_file():
        return weights

    seconds = float(rows[-1]["seconds"]) if rows else 0.0
    started = last_checkpoint = last_entry = time.monotonic()
    started -= seconds
    images_seen, shape = 0, None
    said = ""
    with progress(stage.name, stage.steps, step) as show:
        while step < stage.steps:
            images, targets = stage.batch(step)
            if images.shape != shape:
                # TensorFlow would otherwise trace a function with unknown shapes for the second crop size.
                learner.make_train_function(force=True)
                shape = images.shape
            results = learner.train_on_batch(images, targets, return_dict=True)
            step += 1
            images_seen += len(images)
            show(said)
            if step % cadence.log_every_steps == 0 or step == stage.steps:
                now = time.monotonic()
                values = {name: float(results[name]) for name in stage.loss_names}
                if not np.isfinite(list(values.values())).all():
                    raise _diverged(stage, step, checkpoint)
                rows.append(
                    {
                        "step": str(step),
                        "seconds": f"{now - started:.1f}",
                        "images_per_s": f"{images_seen / max(now - last_entry, 1e-9):.2f}",
                        **{name: f"{value:.5f}" for name, value in values.items()},
                    }
                )
                learner.reset_metrics()
                last_entry, images_seen = now, 0
                _write_log(log, rows)
                said = " ".join(f"{name} {value:.3f}" for name, value in values.items())
            if time.monotonic() - last_checkpoint >= cadence.checkpoint_every_s or step == stage.steps:
                _write_checkpoint(checkpoint, stage, learner, step)
                if rows:
                    plot_losses(directory / "losses.png", stage.name, rows, stage.loss_names)
                last_checkpoint = time.monotonic()
    save_weights(weights, network_weights(stage.network))
    return weights
