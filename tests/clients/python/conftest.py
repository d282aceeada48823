"""Servers and clients that several checks share. The clients are OpenAI's own, unmodified."""

import pytest

from server import Server, connect


@pytest.fixture(scope="session")
def demo():
    """A server on the demo model."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def fast():
    """A server on the fake engine, which answers at once."""
    with Server(engine="fake:none") as server:
        yield server


@pytest.fixture(scope="session")
def client(demo):
    with connect(demo) as client:
        yield client
