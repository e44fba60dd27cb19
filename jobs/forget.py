"""What `bc4all forget` starts through spark-submit."""

from bc4all.cli.forget import forget_and_leave

if __name__ == "__main__":
    forget_and_leave()
