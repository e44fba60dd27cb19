"""The tune job, started by bin/submit.sh through spark-submit."""

from bc4all.cli.options import job_command
from bc4all.jobs.application import run_and_leave

if __name__ == "__main__":
    job_command("tune", run_and_leave)(prog_name="bin/submit.sh tune")
