#!/usr/bin/env bash
# MLflow as a server for many drivers, on loopback: its database on PostgreSQL where the system has it (below
# $POSTGRESQL, by default /usr/lib/postgresql), else SQLite; artifacts go through the server. All it keeps lies in
# $MLFLOW_HOME, by default $DATA_PREFIX/mlflow-server. Ctrl-C ends it and its database.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export MLFLOW_DISABLE_TELEMETRY=${MLFLOW_DISABLE_TELEMETRY:-true} # it would report its use to its makers
port=${MLFLOW_PORT:-5000}
home=${MLFLOW_HOME:-${DATA_PREFIX:-data}/mlflow-server}
if [[ $home == *:/* ]]; then
    echo "bin/mlflow-server.sh: $home is no folder of this machine: set MLFLOW_HOME to one" >&2
    exit 2
fi
home=$(realpath -m -- "$home")
mkdir -p -- "$home"
database=sqlite:///$home/mlflow.db
run=$(mktemp -d "${TMPDIR:-/tmp}/bc4all-mlflow.XXXXXX") # a socket's path must be short
as_owner=()
postgres=$(find "${POSTGRESQL:-/usr/lib/postgresql}" -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1 || true)
[[ -x $postgres/initdb ]] || postgres= # its client alone is no server
started=

stop() {
    [[ -z ${server-} ]] || kill "$server" 2>/dev/null || true
    [[ -z ${server-} ]] || wait "$server" 2>/dev/null || true
    [[ -z $started ]] || "${as_owner[@]}" "$postgres/pg_ctl" -D "$home/postgres" stop -m fast >/dev/null
    rm -rf -- "$run"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -n $postgres && $(id -u) == 0 ]]; then # PostgreSQL refuses to run as root
    chown postgres "$run"
    mkdir -p -- "$home/postgres"
    chown postgres "$home/postgres"
    as_owner=(runuser -u postgres --)
    if ! "${as_owner[@]}" test -w "$home/postgres"; then
        echo "the user postgres cannot reach $home: using SQLite" >&2
        rmdir -- "$home/postgres"
        postgres=
    fi
fi
if [[ -n $postgres ]]; then
    if [[ ! -f $home/postgres/PG_VERSION ]]; then
        "${as_owner[@]}" "$postgres/initdb" -D "$home/postgres" -U bc4all -E UTF8 --auth=trust >/dev/null
    fi
    if "${as_owner[@]}" "$postgres/pg_ctl" -D "$home/postgres" status >/dev/null; then
        echo "bin/mlflow-server.sh: a server runs on $home already: stop it, or set MLFLOW_HOME to another folder" >&2
        exit 1
    fi
    # No port: whoever may enter the socket's folder, which is its owner (and root), may connect.
    "${as_owner[@]}" "$postgres/pg_ctl" -D "$home/postgres" -l "$run/postgres.log" -w \
        -o "-c listen_addresses='' -k '$run'" start >/dev/null
    started=1
    "$postgres/psql" -h "$run" -U bc4all -d postgres -tAc "SELECT 1 FROM pg_database WHERE datname = 'mlflow'" | grep -q 1 ||
        "$postgres/createdb" -h "$run" -U bc4all mlflow
    database="postgresql+psycopg2://bc4all@/mlflow?host=$run"
fi
echo "export MLFLOW_TRACKING_URI=http://127.0.0.1:$port   # database: ${database%%[:+]*}"
.venv/bin/mlflow server --host 127.0.0.1 --port "$port" --backend-store-uri "$database" \
    --artifacts-destination "$home/artifacts" &
server=$!
wait "$server"
