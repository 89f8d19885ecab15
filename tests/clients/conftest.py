"""Fixtures for other people's clients: a server on a loopback port, over a tiny random model."""

from __future__ import annotations

import openai
import pytest

from kvtape import Engine
from kvtape.server import create_app
from tests.reference.tiny_vocab import CHAT_TEMPLATE
from tests.serving import running, tiny_engine

__all__ = ["tiny_engine"]


@pytest.fixture(scope="session")
def tiny_url(tiny_engine):
    with running(create_app(tiny_engine, api_keys=["LS-test"])) as url:
        yield url


@pytest.fixture(scope="session")
def thinking_url(make_tiny_model):
    """A server over a model whose template opens and closes its reasoning, as Qwen3's does."""
    opened = (
        "{% if add_generation_prompt %}{{ '<think>\\n' + ('' if enable_thinking else '\\n</think>\\n\\n') }}{% endif %}"
    )
    path = make_tiny_model(n_ctx=2048, chat_template=CHAT_TEMPLATE + opened)
    with Engine(path, kv_memory="64M", n_threads=1) as engine, running(create_app(engine)) as url:
        yield url


@pytest.fixture
def client(tiny_url):
    with openai.OpenAI(base_url=f"{tiny_url}/v1", api_key="LS-test", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(tiny_url):
    async with openai.AsyncOpenAI(base_url=f"{tiny_url}/v1", api_key="LS-test", max_retries=0) as client:
        yield client


@pytest.fixture
def model(client):
    return client.models.list().data[0].id
