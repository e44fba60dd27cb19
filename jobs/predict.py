"""The predict job, started by bin/submit.sh through spark-submit."""

from bc4all.interrupts import leave_at_once

if __name__ == "__main__":
    leave_at_once("predict")
    from bc4all.cli.options import job_command  # which takes a second, as does the next
    from bc4all.jobs.application import run_and_leave

    job_command("predict", run_and_leave)(prog_name="bin/submit.sh predict")
