"""What bin/submit.sh runs: the jobs' command line, checked before there is a Java."""

import sys

from bc4all.interrupts import leave_at_once

if __name__ == "__main__":
    leave_at_once("bin/submit.sh")

import click

import bc4all
from bc4all.cli.options import job_command
from bc4all.job_kinds import JOB_KINDS
from bc4all.launch.spark_submit import become_spark_submit
from bc4all.request import JobRequest


def _submit(request: JobRequest) -> int:
    argv = sys.argv[2:]
    return become_spark_submit(request, argv[: argv.index("--")] if "--" in argv else argv)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(bc4all.__version__, message="%(version)s")
def main() -> None:
    """Start a Spark job: bin/submit.sh JOB OPTIONS [-- any spark-submit option]."""


for _job in JOB_KINDS:
    main.add_command(job_command(_job, _submit))

if __name__ == "__main__":
    main(prog_name="bin/submit.sh")
