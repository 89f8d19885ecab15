"""The engine: open, append, generate, fork, truncate, close; blocking and asynchronous."""

from kvtape.engine.async_engine import AsyncEngine, AsyncGeneration, AsyncSequence
from kvtape.engine.engine import Engine, Generation, Sequence
from kvtape.engine.stats import EngineStats

__all__ = ["AsyncEngine", "AsyncGeneration", "AsyncSequence", "Engine", "EngineStats", "Generation", "Sequence"]
