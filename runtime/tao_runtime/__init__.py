"""tao-run: post-training of world models in which green means right."""

__version__ = "0.1.0"
