#!/usr/bin/env bash
# Packs what a Spark worker's Python needs, in the lock file's versions, to dist/bc4all-environment.tar.gz: spark-submit's
# --archives ships it. Workers need the same Python at the same place, and Java. `env-archive.sh driver` packs
# what a driver needs, too, for --deploy-mode cluster, as dist/bc4all-driver-environment.tar.gz.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
case ${1-} in
    "") archive=dist/bc4all-environment.tar.gz extra=worker ;;
    driver) archive=dist/bc4all-driver-environment.tar.gz extra="" ;;
    *) echo "usage: bin/env-archive.sh [driver]" >&2; exit 2 ;;
esac
# The environment is marked anew when it is made with another Python.
if [[ $archive -nt requirements.lock && $archive -nt setup.cfg && $archive -nt bin/env-archive.sh &&
    $archive -nt .venv/pyvenv.cfg ]]; then
    echo "$archive is up to date"
    exit
fi
packages=$(.venv/bin/python - "$extra" <<'PY'
import configparser, sys
setup = configparser.ConfigParser()
setup.read("setup.cfg")
extra = sys.argv[1]
listed = setup["options.extras_require"][extra] if extra else setup["options"]["install_requires"]
print(*(line.replace(" ", "") for line in listed.splitlines() if line and not line.startswith("#")))
PY
)
work=$(mktemp -d "${TMPDIR:-/tmp}/bc4all-environment.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
# The interpreter that the project's own environment was made with: its place is what workers must have, too.
"$(.venv/bin/python -c 'import sys; print(sys._base_executable)')" -m venv --without-pip "$work/environment"
# Constraints keep the lock file's versions and hashes; pip itself stays out.
# shellcheck disable=SC2086 # one word a package
.venv/bin/pip --python "$work/environment/bin/python" install --quiet --disable-pip-version-check --no-compile \
    --constraint requirements.lock $packages
find "$work/environment" -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} +
# Each executor unpacks it anew: without compiled modules its first import takes 7 s instead of 2. Their times may
# change on the way, so none is checked.
"$work/environment/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$work"/environment/lib ||
    true # a package may hold a file for another Python
mkdir -p dist
.venv/bin/venv-pack --quiet --force --prefix "$work/environment" --output "$archive.new.tar.gz"
mv "$archive.new.tar.gz" "$archive"
echo "$archive: $(du -h "$archive" | cut -f1)"
