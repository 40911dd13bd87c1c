"""One project for all tests of this folder: none of them writes into it."""

from pathlib import Path

import pytest

from project import Project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root: Path = tmp_path_factory.mktemp("project")
    return Project(root)
