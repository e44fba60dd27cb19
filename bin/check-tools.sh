#!/usr/bin/env bash
# Tells in one line what is missing before the project can be set up, with the command that mends it.
set -euo pipefail
python=${1:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "bc4all needs Python 3.11 or newer as $python: apt-get install python3 python3-venv, or make setup PYTHON=/path/to/python3.11" >&2
    exit 1
fi
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
version=$("$java" -version 2>&1 | sed -nE 's/.* version "([0-9]+).*/\1/p' | head -n 1 || true)
if [[ -z $version || $version -lt 17 ]]; then
    echo "bc4all needs Java 17 or newer (found: ${version:-none}): apt-get install openjdk-17-jre-headless, or set JAVA_HOME" >&2
    exit 1
fi
