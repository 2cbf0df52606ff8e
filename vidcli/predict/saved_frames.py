"""Write the frames that a model reads to disk as pictures."""

from __future__ import annotations

import os
from pathlib import Path

from vidcli.arrays import Float32
from vidcli.config import ClipConfig
from vidcli.data.items import VideoItem
from vidcli.errors import VidcliError
from vidcli.runtime.outputs import refuse_address
from vidcli.transforms import to_pixels
from vidcli.video import write_png


class FrameSaver:
    """Write each frame of each clip as a PNG, exactly as the model reads it.

    FOLDER/0001_name/view1_frame01.png
    FOLDER/0002_other/view1_crop3_frame16.png
    """

    def __init__(self, folder: Path, clip: ClipConfig) -> None:
        """Make the folder.

        Args:
            folder: where to write; must be empty or not exist yet.
            clip: the settings of the model's clips.

        Raises:
            VidcliError: the folder holds something already, cannot be made, or is an address.
        """
        refuse_address(f"--save-frames {folder}", folder)
        self._folder, self._num_crops = folder, clip.crops
        self._clip = clip
        self._num_videos = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_empty = not any(folder.iterdir())
        except OSError as error:
            raise VidcliError(f"--save-frames {folder}: cannot be made ({error.strerror})") from error
        if not is_empty:
            raise VidcliError(f"--save-frames {folder}: is not empty; choose another folder")

    def save(self, item: VideoItem, views_VTCHW: Float32) -> None:
        """Write the frames of all crops of all views of one video.

        Raises:
            VidcliError: the disk is full or gone.
        """
        self._num_videos += 1
        prefix = f"{self._num_videos:04}_"
        # The name of a folder may be 255 bytes long.
        stem = os.fsencode(item.path.stem)[: 255 - len(prefix)]
        folder = self._folder / (prefix + stem.decode("utf-8", "ignore"))
        try:
            folder.mkdir()
            for number, clip_TCHW in enumerate(views_VTCHW):
                view, crop = divmod(number, self._num_crops)
                crops = f"_crop{crop + 1}" if self._num_crops > 1 else ""
                for index, picture_HWC in enumerate(to_pixels(clip_TCHW, self._clip), start=1):
                    write_png(folder / f"view{view + 1}{crops}_frame{index:02}.png", picture_HWC)
        except OSError as error:
            raise VidcliError(f"--save-frames {folder}: cannot be written ({error.strerror})") from error
