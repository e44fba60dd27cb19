"""The tables of the history's SQLite file."""

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY,
    client TEXT NOT NULL,
    job TEXT NOT NULL,
    day TEXT NOT NULL,
    scheduled_for TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    trigger TEXT NOT NULL,
    state TEXT NOT NULL,
    not_before REAL NOT NULL,
    application TEXT,
    pid INTEGER,
    pid_started REAL, -- seconds since the machine was started
    exit_code INTEGER,
    started TEXT,
    ended TEXT,
    log TEXT,
    mlflow_run TEXT,
    version INTEGER,
    top_5 REAL,
    rows INTEGER,
    error TEXT,
    note TEXT,
    alone INTEGER NOT NULL DEFAULT 0,
    unnotified TEXT, -- why the notice of it was not delivered
    parts INTEGER NOT NULL DEFAULT 1,
    UNIQUE (client, job, scheduled_for, attempt)
);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state);
CREATE INDEX IF NOT EXISTS runs_by_time ON runs (scheduled_for);
CREATE TABLE IF NOT EXISTS agenda (client TEXT, job TEXT, timing TEXT NOT NULL, PRIMARY KEY (client, job));
CREATE TABLE IF NOT EXISTS pauses (client TEXT, job TEXT, since TEXT NOT NULL, PRIMARY KEY (client, job));
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value REAL NOT NULL);
"""
# Columns of `runs` that later versions have added.
ADDED = {"alone": "INTEGER NOT NULL DEFAULT 0", "unnotified": "TEXT", "parts": "INTEGER NOT NULL DEFAULT 1"}
