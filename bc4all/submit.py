"""What bin/submit.sh runs: check the arguments, build the bundle when it is stale, become spark-submit.

Nothing of Spark is imported here: `--help` and a wrong argument answer without Java.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import click

import bc4all
from bc4all.arguments import TERMINAL_COLUMNS, JobArguments, job_command

ROOT = Path(__file__).resolve().parent.parent
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


def spark_submit(arguments: JobArguments, argv: list[str]) -> list[str]:
    """The spark-submit command line for a job whose own arguments are `argv`.

    The master is the one of the options, then $BC4ALL_MASTER, then local[*].
    """
    options = list(arguments.spark_options)
    if not any(option == "--master" or option.startswith("--master=") for option in options):
        options = ["--master", os.environ.get("BC4ALL_MASTER") or "local[*]", *options]
    if not any(option == "--name" or option.startswith("--name=") for option in options):
        options = ["--name", f"bc4all {arguments.job} {arguments.day}", *options]
    program = Path(sys.executable).parent / "spark-submit"
    return [
        str(program),
        "--py-files",
        str(build_bundle()),
        *options,
        str(ROOT / "jobs" / f"{arguments.job}.py"),
        *argv,
    ]


def _submit(arguments: JobArguments) -> int:
    argv = sys.argv[2:]
    argv = argv[: argv.index("--")] if "--" in argv else argv
    command = spark_submit(arguments, argv)
    if sys.stdout.isatty():
        os.environ[TERMINAL_COLUMNS] = str(shutil.get_terminal_size().columns)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["BC4ALL_CONFIG"] = str(arguments.config.resolve())  # the bundle does not know the project's folder
    os.environ.setdefault("SPARK_CONF_DIR", str(ROOT / "conf"))
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - an argument list, and no shell; signals and exit code pass through


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(bc4all.__version__, message="%(version)s")
def main() -> None:
    """Start a Spark job: bin/submit.sh JOB OPTIONS [-- any spark-submit option]."""


for _job in ("train", "predict"):
    main.add_command(job_command(_job, _submit))

if __name__ == "__main__":
    main(prog_name="bin/submit.sh")
