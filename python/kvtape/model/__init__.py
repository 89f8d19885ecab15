"""Models: where their files are, and how text becomes token ids."""

from kvtape.model.registry import MODELS, cached_path, pull, resolve
from kvtape.model.tokenizer import Tokenizer

__all__ = ["MODELS", "Tokenizer", "cached_path", "pull", "resolve"]
