"""What is installed is what the lock file says, and the lock file says it by hash."""

import re
import runpy

import pytest

from tests.conftest import ROOT

AUDIT = runpy.run_path(str(ROOT / "bin" / "audit.py"))


def test_everything_is_pinned_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each package of the lock file has a hash, and is installed in that version; no address of an index is in it."""
    monkeypatch.chdir(ROOT)
    packages = AUDIT["pinned"]()
    assert {"pyspark", "mlflow", "scikit-learn", "stamina"} < set(packages)
    assert AUDIT["faults"](packages) == []
    assert not re.search(r"https?://|index-url|find-links", (ROOT / "requirements.lock").read_text())


def test_sees_what_is_not() -> None:
    """A package without a hash and one in another version are told."""
    said = AUDIT["faults"]({"stamina": ("0.1", 3), "x": ("1", 0)})
    assert said[0] == "x 1 is not pinned by hash"
    assert said[1].endswith(" is installed where 0.1 is pinned")
