"""Which keys of records are misspelt, and which are their writer's own."""

from __future__ import annotations

import pytest

from tao_runtime.data.record_keys import near_keys


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["id", "vidoe", "conversations"], {"vidoe": "video"}),
        (["id", "Image", "conversations"], {"Image": "image"}),
        (["video", "video_fp", "conversation"], {"video_fp": "video_fps", "conversation": "conversations"}),
        (["video", "vidoe", "video_fps", "conversations"], {}),  # what is meant is there
        (["video", "video_fps", "video_fp", "conversation", "conversations"], {}),
        (["image", "imags", "conversations"], {}),
        (["video_id", "videoid", "image2", "task", "fps", "conversations"], {}),
        (["image", "video_fp", "conversations"], {}),  # a picture has no rate
    ],
)
def test_a_key_is_misspelt_where_the_right_one_is_missing(names: list[str], meant: dict[str, str]) -> None:
    assert near_keys(names) == meant
