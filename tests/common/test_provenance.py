"""The version of the running code."""

import pytest

from cloob.common.provenance import current_commit


def test_current_commit_is_none_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert current_commit() is None
