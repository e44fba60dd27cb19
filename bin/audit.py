"""What `make audit` does: ask PyPI's advisories about every package of the lock file, or say that they cannot be asked.

Whether or not they can, every package must be pinned by hash, and what is installed must be what is pinned.
"""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

LOCK = Path("requirements.lock")
AUDIT = ("--requirement", str(LOCK), "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off")


def pinned() -> dict[str, tuple[str, int]]:
    """Each package of the lock file: its version, and how many hashes it may have."""
    found = {}
    for entry in re.split(r"\n(?=\S)", LOCK.read_text()):
        requirement = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        if requirement:
            found[requirement[1]] = requirement[2], entry.count("--hash=sha256:")
    return found


def faults(packages: dict[str, tuple[str, int]]) -> list[str]:
    """Return what is not pinned by hash, and what is installed in another version."""
    said = [f"{name} {version} is not pinned by hash" for name, (version, hashes) in packages.items() if not hashes]
    for name, (version, _) in packages.items():
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # for another system or Python
        if there != version:
            said.append(f"{name} {there} is installed where {version} is pinned")
    return said


def main() -> int:
    """Print what was found, and return 1 where something is wrong."""
    packages = pinned()
    wrong = faults(packages)
    done = subprocess.run([sys.executable, "-m", "pip_audit", *AUDIT], capture_output=True, text=True, check=False)
    try:
        asked = [package for package in json.loads(done.stdout)["dependencies"] if "skip_reason" not in package]
    except (ValueError, KeyError):
        asked = []
        if "ConnectionError" not in done.stderr:
            wrong.append(f"pip-audit failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    for package in asked:
        wrong += [f"{package['name']} {package['version']}: {weakness['id']}" for weakness in package["vulns"]]
    where = f"advisories were asked about {len(asked)}" if asked else "advisories cannot be reached from here"
    print("\n".join([*wrong, f"{len(packages)} packages are pinned by hash; {where}; {len(wrong)} faults"]))
    return 1 if wrong or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
