"""The train job, started by bin/submit.sh through spark-submit."""

from bc4all.cli.options import job_command
from bc4all.jobs.application import run_application

if __name__ == "__main__":
    job_command("train", run_application)(prog_name="bin/submit.sh train")
