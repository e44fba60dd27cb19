"""The commands `bc4all crontab …`. They are added to the group in `cli`."""

import os
import sys
from pathlib import Path

import click

from bc4all.cli.options import CONFIG_OPTION
from bc4all.errors import EXIT_OK, ConfigurationError
from bc4all.launch.spark_submit import refuse_password
from bc4all.layout import Layout
from bc4all.local_files import replace_text
from bc4all.project import ROOT
from bc4all.state import State
from bc4all.variables import DATA_PREFIX, TRACKING_URI
from bc4all.wording import quantity


@click.group()
def crontab() -> None:
    """Let cron start the clients' jobs.

    Their lines are put into your crontab, or taken out again; what else stands there is left alone. See cron/README.md.
    """


@crontab.command("print")
@CONFIG_OPTION
@click.option(
    "--format",
    "form",
    type=click.Choice(("crontab", "kubernetes")),
    default="crontab",
    show_default=True,
    help="What for.",
)
@click.option("--image", default="REGISTRY/bc4all:0.1.0", show_default=True, help="The jobs' image, for Kubernetes.")
@click.option("--cpu", default="1", show_default=True, help="Cores that each job's pod asks for.")
@click.option("--memory", default="4Gi", show_default=True, help="Memory that it asks for, and may take.")
def print_crontab(config: Path, form: str, image: str, cpu: str, memory: str) -> None:
    """Print the lines, or Kubernetes' CronJobs.

    Example: bc4all crontab print --format kubernetes --image registry.example/bc4all:0.1.0
    """
    from bc4all.config.fleet_file import load_fleet

    fleet = load_fleet(config)
    if form == "crontab":
        from bc4all.schedule.crontab import block

        click.echo(block(fleet, ROOT), nl=False)
        return
    from bc4all.schedule.kubernetes import Pod, manifests

    layout = Layout.from_environment()
    if layout.local_path is not None:
        remedy = "name an object store, or another storage that they reach"
        raise ConfigurationError("DATA_PREFIX is a folder of this machine, which no pod sees", layout.prefix, remedy)
    settings = {DATA_PREFIX: layout.prefix}
    settings |= {name: os.environ[name] for name in (TRACKING_URI,) if os.environ.get(name)}
    for name, value in settings.items():
        refuse_password(name, value, "--format kubernetes")
    click.echo(manifests(fleet, Pod(image, settings, cpu, memory)), nl=False)


@crontab.command("install")
@CONFIG_OPTION
def install_crontab(config: Path) -> None:
    """Put the lines into your crontab, or replace them.

    Example: bc4all crontab install
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule import crontab as lines

    fleet, layout = load_fleet(config), Layout.from_environment()
    new = lines.block(fleet, ROOT)
    before = lines.read_crontab()
    after = lines.merge(before, new, lines.marker(ROOT))
    folder = ROOT / "cron"
    replace_text(folder / "environment", lines.environment(fleet, layout, os.environ), 0o600)
    replace_text(folder / "bc4all.crontab", new.decode(), 0o600)
    if after != before:
        lines.write_crontab(after)
    replace_text(folder / lines.TOGETHER_FILE, lines.together(fleet), 0o600)  # after the lines that it is of
    count = sum(not line.startswith(b"#") for line in new.splitlines())
    click.echo(f"your crontab has {quantity(count, 'line')} of clients' jobs{'' if after != before else ', as before'}")
    click.echo(
        f"their environment is in {folder / 'environment'}; their state in {State.from_environment(layout).folder}"
    )


@crontab.command("remove")
def remove_crontab() -> None:
    """Take the lines out of your crontab.

    Example: bc4all crontab remove
    """
    from bc4all.schedule import crontab as lines

    before = lines.read_crontab()
    after = lines.merge(before, b"", lines.marker(ROOT))
    if after == before:
        click.echo("your crontab has no line of this installation")
        return
    lines.write_crontab(after)
    click.echo("your crontab has no line of this installation any more")


@crontab.command("diff")
@CONFIG_OPTION
def diff_crontab(config: Path) -> None:
    """Show what install would change.

    The exit code is 1 where it would change anything, else 0.

    Example: bc4all crontab diff
    """
    from bc4all.config.fleet_file import load_fleet
    from bc4all.schedule import crontab as lines

    before = lines.read_crontab()
    after = lines.merge(before, lines.block(load_fleet(config), ROOT), lines.marker(ROOT))
    for line in lines.difference(before, after):
        click.echo(line)
    sys.exit(1 if after != before else EXIT_OK)
