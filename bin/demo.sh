#!/usr/bin/env bash
# From nothing to published categories: what `make demo` does.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export DATA_PREFIX=${DATA_PREFIX:-data} SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
if [[ ! -d $DATA_PREFIX/train ]]; then
    echo "==> bc4all sample-data --clients 10 --rows 5000 --seed 1 --out $DATA_PREFIX"
    .venv/bin/bc4all sample-data --clients 10 --rows 5000 --seed 1 --out "$DATA_PREFIX"
fi
for job in train predict; do
    echo "==> bin/submit.sh $job --all"
    bin/submit.sh "$job" --all
done
echo "==> bc4all show --client-id client_0 --limit 5"
.venv/bin/bc4all show --client-id client_0 --limit 5
echo "==> bc4all report --out dist/site"
.venv/bin/bc4all report --out dist/site
cat <<END

Where to look next:
  $DATA_PREFIX/products_categories/   every client's categories as parquet, a _manifest.json beside them
  dist/site/index.html              pages of the fleet, of each client and of the next 24 hours, for any browser
  make mlflow-ui                    every run: accuracy, per-category tables, confusion matrices
  make notebook                     the published categories beside the products, with Spark
END
