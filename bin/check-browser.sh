#!/usr/bin/env bash
# Installs the browser that the tests of pages use, where there is none and the package manager can; else says what to do.
# Without one those tests are skipped, and say so.
set -euo pipefail
if command -v chromium >/dev/null; then
    exit 0
fi
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    echo "installing chromium, for the tests of pages"
    if (apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium fonts-dejavu-core) >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "there is no chromium: the pages are not tried in a browser (apt-get install chromium)" >&2
