"""Shared by every test: the modules of this folder (`factory`, `house`, `skill_text`), and the demo's material."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SHARE = 0.08  # of the demo's clips: 36 to train on, 48 in the pool, 16 held out, 6 for validation


@pytest.fixture(scope="session")
def demo_material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder: a tiny real snapshot, real clips, specs with paths relative to it. Made once; do not write."""
    torch = pytest.importorskip("torch")
    from tao_runtime.engine.demo.cosmos_reason import prepare

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("demo")
    prepare(folder, share=SHARE)
    return folder
