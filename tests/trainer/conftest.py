"""What several tests of trainers start from."""

import pytest


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """Whatever a trainer leaves lying about lies here."""
    monkeypatch.chdir(tmp_path)
