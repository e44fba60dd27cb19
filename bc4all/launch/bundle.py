"""The project's code as one zip, which Spark ships to its workers."""

import contextlib
import hashlib
import os
import shutil
import time
import zipfile
from pathlib import Path

import bc4all
from bc4all.project import ROOT

_UNUSED_AFTER_S = 30 * 86400.0  # longer than any job runs
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest that zip can say: equal code makes an equal bundle


def build_bundle(root: Path = ROOT) -> Path:
    """Zip the package to `dist/bc4all-<version>.zip` where that is missing or older than a source file."""
    bundle = root / "dist" / f"bc4all-{bc4all.__version__}.zip"
    sources = sorted((root / "bc4all").rglob("*.py"))
    newest = max(path.stat().st_mtime for path in [root / "bc4all", *sources])
    if bundle.exists() and bundle.stat().st_mtime > newest:
        return bundle
    bundle.parent.mkdir(exist_ok=True)
    unfinished = bundle.with_name(f"{bundle.name}.{os.getpid()}")  # another submission may be building it, too
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sources:
            entry = zipfile.ZipInfo(source.relative_to(root).as_posix(), _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, source.read_bytes())
    unfinished.replace(bundle)
    return bundle


def frozen_bundle(root: Path = ROOT) -> Path:
    """Return the bundle under a name that only equal code has: a job imports from it for as long as it runs.

    Without it, a job that runs while the code is changed, and another job started, would read half of each.
    """
    bundle = build_bundle(root)
    content = bundle.read_bytes()
    frozen = bundle.parent / "bundles" / hashlib.sha256(content).hexdigest()[:16] / bundle.name
    if frozen.exists():
        with contextlib.suppress(OSError):  # another user's
            os.utime(frozen.parent)
    else:
        _remove_unused(frozen.parent.parent)
        frozen.parent.mkdir(parents=True, exist_ok=True)
        unfinished = frozen.with_name(f"{frozen.name}.{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(frozen)
    return frozen


def _remove_unused(bundles: Path) -> None:
    """Remove the bundles that no job was started with for a month."""
    for folder in bundles.glob("*"):
        with contextlib.suppress(OSError):  # another submission was first
            if time.time() - folder.stat().st_mtime > _UNUSED_AFTER_S:
                shutil.rmtree(folder)
