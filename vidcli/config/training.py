"""Settings of training: how weights change, for how long, and what is told of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from vidcli.config.values import TRACKERS, Section, parse_trackers, parse_word

MAX_SEED = 2**63 - 1


class TrainConfig(Section):
    """Optimisation.

    Large because each attribute is a setting of `train`.
    """

    epochs: int = Field(40, ge=1, le=10_000, description="Passes over the training videos.")
    batch_size: int = Field(16, ge=1, le=4096, description="Clips a step.")
    accumulate: int = Field(
        1,
        ge=1,
        le=4096,
        description="Parts in which a batch goes through the model, where it does not fit in memory whole.",
    )
    auto_batch: bool = Field(
        False,
        description="Where a batch does not fit in memory, pass it in parts that do, with the same result; "
        "otherwise the run stops and names the size that fits.",
    )
    optimizer: Literal["adamw", "sgd", "ridge"] = Field(
        "adamw",
        description="Update rule; ridge solves the layer after model.streams in closed form, chosen by "
        "cross-validation.",
    )
    ridge: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Regularisation of train.optimizer=ridge; 0 chooses it, streams and panels.",
    )
    minutes: float = Field(0.0, ge=0, le=1e6, description="Minutes that ridge should take; 0 sets no limit.")
    contender: Annotated[str, BeforeValidator(parse_word)] = Field(
        "off",
        max_length=4096,
        description="Recipe to try against ridge on held-out parts, of one class a video; off tries none.",
    )
    lr: float = Field(1e-3, gt=0, le=10, description="Highest learning rate, reached after the warm-up.")
    weight_decay: float = Field(0.05, ge=0, le=1, description="Decay of weights (not of biases and norms).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd.")
    warmup_epochs: float = Field(
        5.0, ge=0, le=10_000, description="Epochs of rising learning rate before the cosine."
    )
    backbone_lr_ratio: float = Field(
        1.0, gt=0, le=10, description="Learning rate of the backbone as a share of train.lr."
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Learning rate of each backbone stage, or transformer block, as a share of the next; "
        "1 is off.",
    )
    lora: int = Field(
        0,
        ge=0,
        le=1024,
        description="Rank of adapters beside the attention of a transformer, which alone learns with the "
        "head; 0 trains the backbone itself.",
    )
    lora_alpha: float = Field(
        16.0, gt=0, le=1e4, description="Strength of the adapters: they count alpha / rank times."
    )
    freeze_epochs: int = Field(
        0, ge=0, le=10_000, description="First epochs in which the backbone stays as it started."
    )
    frozen_clips: int = Field(
        4,
        ge=0,
        le=1000,
        description="Clips of each video that a backbone frozen to the end looks at, once; epochs take turns "
        "with them; 0 draws anew.",
    )
    unfreeze_every: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Epochs from one backbone stage that starts to learn to the one before it, last first; "
        "0 starts all at once.",
    )
    freeze_batchnorm: bool = Field(
        False,
        description="Keep the backbone's BatchNorm statistics as they started, for fine-tuning in small "
        "batches.",
    )
    class_balance: Annotated[Literal["off", "sampling", "loss"], BeforeValidator(parse_word)] = Field(
        "off",
        description="sampling draws every class equally often; loss weighs clips by the inverse of their "
        "class's share.",
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Probability given to the other classes.")
    grad_clip: float = Field(5.0, ge=0, le=1e9, description="Largest gradient norm; 0 does not clip.")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share that a step keeps of the running average of weights, which is validated and "
        "saved; 0 keeps no average.",
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of weights, order, sampling and augmentation.")
    patience: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Epochs without a better validation before stopping; 0 never stops early.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto trains in bfloat16 on CUDA, float32 elsewhere; float16 scales its loss."
    )
    compile: Annotated[Literal["off", "on"], BeforeValidator(parse_word)] = Field(
        "off", description="Compile the model for training: a slow first step, then faster ones."
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, le=1e6, description="Minutes between saves inside an epoch; each epoch ends with one."
    )
    tracker: Annotated[str, BeforeValidator(parse_trackers)] = Field(
        "auto",
        json_schema_extra={"enum": ["auto", "none", *TRACKERS]},
        description="Where numbers of the run go, several with commas; auto is tensorboard if installed.",
    )
    plots: bool = Field(True, description="Draw curves.png, samples.png and confusion.png in the run.")
