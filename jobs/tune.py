"""The tune job, started by bin/submit.sh through spark-submit."""

from bc4all.application import run_application
from bc4all.arguments import job_command

if __name__ == "__main__":
    job_command("tune", run_application)(prog_name="bin/submit.sh tune")
