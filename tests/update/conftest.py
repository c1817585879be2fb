import pytest

from tests.update.kit import Server, System


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.close()


@pytest.fixture
def system(tmp_path):
    folder = tmp_path / "machine"
    folder.mkdir()
    return System(folder)
