"""Conversations with a model, whatever protocol they came by."""

from kvtape.chat.template import ChatTemplate

__all__ = ["ChatTemplate"]
