#!/usr/bin/env bash
# What a line of the crontab starts: cron-job.sh JOB CLIENT_ID FIELDS, with - for all clients that share the line. Cron
# gives it hardly any environment; what the job needs stands in cron/environment (written by bc4all crontab install) and
# cron/environment.local (yours). The run is locked, logged, retried and remembered by bc4all cron-line, whose exit code
# this has.
set -euo pipefail
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
set -a
PATH=${PATH:-}:/usr/local/bin:/usr/bin:/bin
for settings in "$root/cron/environment" "$root/cron/environment.local"; do
    # shellcheck disable=SC1090 # the first is written by bc4all, the second by whoever installs
    [[ ! -f $settings ]] || . "$settings"
done
set +a
cd -- "$root"
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "${BC4ALL_PYTHON:-$root/.venv/bin/python}" -m bc4all.cli.main cron-line "$1" "$2" "${3:-}"
