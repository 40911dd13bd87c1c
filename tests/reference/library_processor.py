"""What the library's own processor makes of clips: run by test_library_processor.py in a process of its own.

torchvision has no CPU build for this torch: its C++ operators cannot be loaded, and then neither can transformers.
Declaring the two operators that it looks up at import is enough for everything used here, which is pure torch.
Usage: python library_processor.py REQUEST.json OUT.npz
"""

import json
import sys
from pathlib import Path

import av
import numpy as np
import torch


def install_torchvision() -> object:
    """Import torchvision, with stand-ins for its operators where they cannot be loaded; keep what is returned alive."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401

        return library
    return None


def read_clip(path: str) -> tuple[torch.Tensor, float]:
    with av.open(path) as container:
        rate = float(container.streams.video[0].average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2), rate


def main(request_path: str, out: str) -> None:
    keep = install_torchvision()
    from transformers import AutoProcessor
    from transformers.video_utils import VideoMetadata

    request = json.loads(Path(request_path).read_text())
    processor = AutoProcessor.from_pretrained(request["model"])
    arrays = {}
    for name, case in request["cases"].items():
        frames, rate = read_clip(case["clip"])
        metadata = VideoMetadata(
            total_num_frames=len(frames),
            fps=rate,
            frames_indices=list(range(len(frames))),
            width=frames.shape[3],
            height=frames.shape[2],
            duration=len(frames) / rate,
        )
        messages = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": case["question"]}]}]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        made = processor(
            text=[text],
            videos=[frames],
            video_metadata=[metadata],
            do_sample_frames=True,
            return_tensors="pt",
            **case["options"],
        )
        arrays[f"{name}/ids"] = made["input_ids"][0].numpy()
        arrays[f"{name}/pixels"] = made["pixel_values_videos"].numpy()
        arrays[f"{name}/grid"] = made["video_grid_thw"][0].numpy()
    np.savez(out, **arrays)
    del keep


if __name__ == "__main__":
    main(*sys.argv[1:])
