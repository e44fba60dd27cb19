"""What `bc4all forget` starts through spark-submit."""

from bc4all.interrupts import leave_at_once

if __name__ == "__main__":
    leave_at_once("bc4all forget")
    from bc4all.cli.forget import forget_and_leave  # which takes a second

    forget_and_leave()
