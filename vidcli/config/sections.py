"""The settings of a run: typed, with defaults and ranges.

Every setting has a default, a range and one sentence, which `vidcli settings` prints.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from vidcli.config.subject_settings import SubjectConfig
from vidcli.config.training import MAX_SEED, TrainConfig
from vidcli.config.values import (
    PANELS,
    STREAMS,
    ChannelMean,
    ChannelSpread,
    FrameSize,
    Panels,
    Section,
    parse_pretrained,
    parse_streams,
    parse_word,
    split_panels,
)
from vidcli.sampling import SamplingMode

MAX_CLIP_BYTES, MAX_VIDEO_BYTES = 2**29, 2**30
"""Memory that one clip, and all clips of one video, may take; what a network makes of them is more."""


class ClipConfig(Section):
    """Which frames the model sees, and how large. The same in training, eval and predict."""

    length: int = Field(16, ge=1, le=512, description="Frames a clip.")
    size: FrameSize = Field(
        (112, 112), description="Pixels of a frame: one number for a square, or HEIGHTxWIDTH."
    )
    fit: Literal["crop", "stretch"] = Field(
        "crop",
        description="crop keeps the proportions and cuts what is outside; stretch keeps the whole frame.",
    )
    crop_ratio: float = Field(
        1.0, ge=0.5, le=1.0, description="Share of the scaled frame that eval keeps (0.875: 224 of 256)."
    )
    resize: FrameSize | None = Field(
        None,
        description="Pixels every frame is scaled to before its middle is cut out, instead of clip.fit and "
        "clip.crop_ratio, which then have no effect; none follows those.",
    )
    mean: ChannelMean | None = Field(
        None, description="Mean of red, green and blue; none takes what the backbone was trained with."
    )
    std: ChannelSpread | None = Field(
        None, description="Spread of red, green and blue; none takes what the backbone was trained with."
    )
    focus: float = Field(
        1.0,
        ge=0.2,
        le=1,
        description="Smallest share of the frame's sides that a window around what moves may shrink to; "
        "1 keeps the frame.",
    )
    panels: Panels = Field(
        ("window",),
        json_schema_extra={"enum": [*PANELS]},
        description="Parts of a picture, from above: whole (the frame, squeezed), window (of clip.focus), "
        "follow (goes along with what moves).",
    )
    sampling: SamplingMode = Field(
        "segments", description="segments covers the whole video; dense takes neighbouring frames."
    )
    stride_seconds: float = Field(0.1, gt=0, le=60, description="Seconds between the frames of a dense clip.")
    views: int = Field(1, ge=1, le=100, description="Clips a video in eval and predict, averaged.")
    crops: int = Field(
        1, ge=1, le=9, description="Windows a clip in eval and predict, along the longer side, averaged."
    )

    @property
    def follows(self) -> bool:
        """Whether a panel goes along with what moves, for which moments have neighbours."""
        return "follow" in self.panels

    @property
    def looks_for_motion(self) -> bool:
        """Whether what is shown of a frame depends on the other frames of its clip."""
        return self.focus < 1 or self.follows

    @property
    def is_frame_alone(self) -> bool:
        """Whether a picture shows one frame, and nothing of it depends on the other frames."""
        return len(self.panels) == 1 and not self.looks_for_motion

    @property
    def num_bytes(self) -> int:
        """What one clip takes in memory: three float32 a pixel."""
        height, width = self.size
        return self.length * height * width * 12

    @property
    def num_video_bytes(self) -> int:
        """What all clips of one video take in memory."""
        return self.num_bytes * self.views * self.crops

    @model_validator(mode="after")
    def _has_panels(self) -> ClipConfig:
        count = len(self.panels)
        if self.panels != ("window",) and (self.size[0] % count or self.crops > 1):
            raise ValueError(
                f"panels={','.join(self.panels)} goes with a height of size that {count} panels share "
                f"evenly, and crops=1, not with size={self.size[0]}x{self.size[1]} and crops={self.crops}"
            )
        return self

    @model_validator(mode="after")
    def _fits_in_memory(self) -> ClipConfig:
        for what, asked, most in (
            ("length x size", self.num_bytes, MAX_CLIP_BYTES),
            ("length x size x views x crops", self.num_video_bytes, MAX_VIDEO_BYTES),
        ):
            if asked > most:
                raise ValueError(
                    f"{what} asks for {asked / 2**20:.0f} MiB, where {most >> 20} MiB are the most; lower "
                    "one of them"
                )
        return self


class DataConfig(Section):
    """How videos become splits and batches.

    Large because each attribute is a setting of `data`.
    """

    val_fraction: float = Field(
        0.15, ge=0, lt=0.9, description="Share of the training videos held out when there is no val split."
    )
    test_fraction: float = Field(
        0.15, ge=0, lt=0.9, description="Share of all videos held out when there is no test split."
    )
    folders: Literal["class", "group/class", "class/group"] = Field(
        "class",
        description="What folders of a data folder are: classes, groups (people, days) that hold classes, "
        "or classes that hold groups.",
    )
    fold: int = Field(
        1, ge=1, le=3, description="Which of the three published splits of UCF101 or HMDB51 is used."
    )
    multi_label: bool = Field(
        False, description="A video may have several classes, or none: `|` parts them in the label column."
    )
    split_seed: int = Field(
        0, ge=0, le=MAX_SEED, description="Seed of the automatic split; train.seed leaves the split alone."
    )
    clips_per_span: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Most clips that a labelled span of a recording is cut into; 1 takes each span whole.",
    )
    clip_step_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="Seconds from one clip of a span to the next; 0 is an eighth of a clip.",
    )
    max_clips: int = Field(
        4000,
        ge=2,
        le=10_000_000,
        description="Most training clips that are cut from spans, as many of each class and then of each "
        "recording as there are; of validation clips a quarter of that.",
    )
    context_windows: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Most windows of training recordings that a network over time learns from, which sees "
        "a moment in view of those around it; 0 learns none.",
    )
    across_borders: bool = Field(
        True,
        description="Clips cut from a span may show what is before and after it, and are of the class of "
        "their middle; false keeps them inside of the span.",
    )
    background: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Name of a class of what nobody labelled in recordings; none learns nothing from that.",
    )
    background_share: float = Field(
        0.3, gt=0, lt=0.95, description="Share of the clips cut from spans that are of data.background."
    )
    labelled_spans: str | None = Field(
        None,
        max_length=4096,
        description="Table with path, start and end of what was looked at in recordings; none takes all of "
        "them for looked at.",
    )
    max_unusable: float = Field(
        0.1, ge=0, le=1, description="Share of undecodable videos above which the run stops."
    )
    cache: Annotated[Literal["auto", "memory", "disk", "off"], BeforeValidator(parse_word)] = Field(
        "auto",
        description="Where decoded frames stay between epochs; disk keeps them for later runs too; auto "
        "takes memory if they fit, else the disk.",
    )
    cache_gib: float = Field(
        20.0, gt=0, le=4096, description="Space the frame cache may take in memory or on disk, in GiB."
    )
    decode: Literal["exact", "keyframes", "fast"] = Field(
        "exact",
        description="keyframes takes the nearest earlier keyframe, for hours of video; fast leaves out "
        "deblocking, and detail of MPEG-4 and MJPEG; both give up exact frames.",
    )
    hwaccel: Annotated[Literal["off", "cuda"], BeforeValidator(parse_word)] = Field(
        "off", description="cuda decodes on an NVIDIA GPU; where none can, on the CPU, with a warning."
    )
    max_pixels: int = Field(
        8192 * 8192,
        ge=256,
        le=2**31 - 1,
        description="Pixels of a coded frame above which a video is refused.",
    )
    max_frames: int = Field(
        0,
        ge=0,
        le=MAX_SEED,
        description="Frames decoded for one video above which it is refused; 0 is no limit.",
    )
    max_seconds: float = Field(
        3600.0, gt=0, le=1e9, description="Seconds of decoding after which a video is abandoned."
    )
    workers: int = Field(0, ge=0, le=256, description="Videos decoded at once; 0 takes the number of cores.")


class AugmentConfig(Section):
    """Random changes in training, drawn once a clip."""

    crop_scale: float = Field(
        1.0,
        gt=0.05,
        le=1,
        description="Smallest share of the largest possible window that a random crop keeps.",
    )
    crop_aspect: float = Field(
        1.0,
        ge=1,
        le=4,
        description="Largest change of a random crop's width by height; what it stretches is squeezed again.",
    )
    flip: Annotated[Literal["auto", "on", "off"], BeforeValidator(parse_word)] = Field(
        "auto", description="Mirror half of the clips; auto does unless class names contain a side."
    )
    brightness: float = Field(0.0, ge=0, le=1, description="Largest relative change of brightness.")
    contrast: float = Field(0.0, ge=0, le=1, description="Largest relative change of contrast.")
    saturation: float = Field(0.0, ge=0, le=1, description="Largest relative change of colourfulness.")
    hue: float = Field(
        0.0, ge=0, le=0.5, description="Largest turn of the colours, in turns; 0.5 gives any colour."
    )
    randaugment: int = Field(
        0, ge=0, le=10, description="Random operations a clip (RandAugment's N); 0 does none."
    )
    randaugment_magnitude: float = Field(
        9.0, ge=0, le=30, description="Strength of each operation (RandAugment's M)."
    )
    erase: float = Field(
        0.0, ge=0, le=1, description="Share of the clips of which a random box is erased in all frames."
    )
    speed: float = Field(
        0.0,
        ge=0,
        le=4,
        description="Largest change of pace: dense clips run up to 1 + speed times faster or slower, "
        "segments cover a part of the video.",
    )
    jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How far each frame of a dense clip comes early or late, as a share of half the stride.",
    )
    mixup: float = Field(
        0.0, ge=0, le=10, description="Alpha of mixup, which blends two clips and their labels; 0 is off."
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Alpha of CutMix, which puts a box of one clip into another; 0 is off. Beside mixup, "
        "each has half of the batches.",
    )


class ModelConfig(Section):
    """Backbone, head and what is between.

    Large because each attribute is a setting of `model`.
    """

    backbone: str = Field(
        "compact_cnn",
        description="Frame network; `vidcli models` lists them; timm:NAME takes one of timm's, hf:ORG/NAME "
        "or hf:FOLDER an image or video encoder of transformers.",
    )
    architecture: dict[str, Any] | None = Field(
        None,
        description="Settings of an hf: encoder, as in its config.json; none reads them there. A model keeps "
        "them, and needs nothing else of the encoder's files.",
    )
    head: str = Field("gru", description="Sequence network; `vidcli models` lists them.")
    pretrained: Annotated[bool | Literal["motion"], BeforeValidator(parse_pretrained)] = Field(
        False,
        description="true starts a published network from its weights (ImageNet; of whole clips "
        "Kinetics-400), motion compact_cnn from what generated videos taught it.",
    )
    weights: str | None = Field(
        None,
        max_length=4096,
        description="Local file of backbone weights (.safetensors or .pth) to start from.",
    )
    streams: Annotated[str, BeforeValidator(parse_streams)] = Field(
        "off",
        json_schema_extra={"enum": ["off", *STREAMS]},
        description="What a clip shows (appearance), what moves (motion), known actions (action), joined by "
        "+, in place of a head; for all panels, or each with commas.",
    )
    panels: int = Field(
        1, ge=1, le=3, description="Panels of a picture that streams describe: as many as clip.panels names."
    )
    frame_step: int = Field(
        1,
        ge=1,
        le=16,
        description="With model.streams, the network of single frames sees one of so many; the one over time "
        "sees all.",
    )
    shift: Annotated[Literal["auto", "on", "off"], BeforeValidator(parse_word)] = Field(
        "auto",
        description="Temporal shift: every residual block sees a part of its neighbour frames; auto does "
        "where there are such blocks.",
    )
    frame_differences: bool = Field(
        True, description="Give the backbone the change since the previous frame beside RGB."
    )
    grid: int = Field(2, ge=1, le=16, description="Cells a side of the feature grid that is kept a frame.")
    width: int = Field(128, ge=8, le=4096, description="Features a frame given to the head.")
    hidden: int = Field(128, ge=8, le=4096, description="Units of the head's layers.")
    layers: int = Field(1, ge=1, le=24, description="Layers of a recurrent, transformer or attentive head.")
    bidirectional: bool = Field(
        False, description="Recurrent heads read the clip backwards as well as forwards."
    )
    attention_heads: int = Field(
        4, ge=1, le=64, description="Attention heads of a transformer or attentive head."
    )
    queries: int = Field(1, ge=1, le=64, description="Learnt queries of an attentive head, averaged.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Share of features dropped in training.")
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Share of clips that skip the last residual block in training, falling to 0 at the "
        "first; none keeps the backbone's own.",
    )

    @property
    def streams_of_each_panel(self) -> tuple[tuple[str, ...], ...]:
        """The streams of each panel, from top to bottom; none without streams."""
        return split_panels(self.streams, self.panels)

    @property
    def sees_actions(self) -> bool:
        """Whether a network over whole clips takes part."""
        return any("action" in streams for streams in self.streams_of_each_panel)

    @model_validator(mode="after")
    def _has_a_stream_for_each_panel(self) -> ModelConfig:
        count = len(self.streams_of_each_panel)
        if count not in (0, self.panels):
            raise ValueError(f"streams={self.streams} names {count} streams for panels={self.panels}")
        return self


class Config(Section):
    """All settings of a run."""

    clip: ClipConfig = ClipConfig()
    data: DataConfig = DataConfig()
    subject: SubjectConfig = SubjectConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @property
    def shares_frames(self) -> bool:
        """Whether what streams see in a frame is the same in every clip that holds it."""
        return self.clip.is_frame_alone and not self.model.sees_actions and self.model.frame_step == 1
