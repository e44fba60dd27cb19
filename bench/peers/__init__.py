"""What people would write instead, each a program of its own at its best ordinary settings."""
