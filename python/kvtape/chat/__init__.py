"""Conversations with a model, whatever protocol they arrive by."""
