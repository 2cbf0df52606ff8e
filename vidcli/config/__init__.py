"""The settings of a run, from defaults, recipe and `--set`; a run stores them fully resolved."""

from __future__ import annotations

from vidcli.config.listing import Setting, iter_settings
from vidcli.config.loading import change_clip, config_from_dict, config_to_dict, config_to_yaml, load_config
from vidcli.config.recipes import builtin_recipes, find_recipe, recipe_folder, recipe_title
from vidcli.config.sections import (
    AugmentConfig,
    ClipConfig,
    Config,
    DataConfig,
    ModelConfig,
)
from vidcli.config.subject_settings import SubjectConfig
from vidcli.config.training import TrainConfig
from vidcli.config.values import STREAMS, join_panels, join_streams, split_panels

__all__ = [
    "STREAMS",
    "AugmentConfig",
    "ClipConfig",
    "Config",
    "DataConfig",
    "ModelConfig",
    "Setting",
    "SubjectConfig",
    "TrainConfig",
    "builtin_recipes",
    "change_clip",
    "config_from_dict",
    "config_to_dict",
    "config_to_yaml",
    "find_recipe",
    "iter_settings",
    "join_panels",
    "join_streams",
    "load_config",
    "recipe_folder",
    "recipe_title",
    "split_panels",
]
