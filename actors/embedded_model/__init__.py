"""Where the model that ships with the package lies: a folder that transformers loads as it is.

What it can do, and how well, is in MODEL_CARD.md; how it was made, in tools/embedded_model.
"""

from pathlib import Path

PATH = Path(__file__).resolve().parent

__all__ = ["PATH"]
