"""What `bc4all doctor` starts through spark-submit."""

from bc4all.jobs.doctor import main

if __name__ == "__main__":
    main()
