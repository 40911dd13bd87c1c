"""Lets every test import the shared modules of this folder (`factory`, `house`, `skill_text`), in any import mode."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
