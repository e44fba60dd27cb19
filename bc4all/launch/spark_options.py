"""spark-submit's options as a person gave them, and what is added to them."""

from collections.abc import Sequence

# Two ways to say the same to spark-submit.
_SETTINGS = {
    "--master": "spark.master",
    "--deploy-mode": "spark.submit.deployMode",
    "--name": "spark.app.name",
    "--archives": "spark.archives",
    "--files": "spark.files",
    "--py-files": "spark.submit.pyFiles",
}
_SWITCHES = (  # all other options have a value
    *("--verbose", "-v", "--supervise", "--load-spark-defaults"),
    *("--version", "--help", "-h"),
)


class SparkOptions:
    """spark-submit options, to which only what the user left open is added. Of two alike, the last counts."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    @property
    def given(self) -> dict[str, str]:
        """What the options say, by flag (--master) or setting (spark.master)."""
        found = {}
        words = iter(self.words)
        for word in words:
            name, has_value, value = word.partition("=")
            if not has_value and name not in _SWITCHES:
                value = next(words, "")
            if name in ("--conf", "-c"):
                name, _, value = value.partition("=")
            found[name] = value
        return found

    def value(self, flag: str) -> str | None:
        """Return what a flag says, or else the setting that means the same."""
        given = self.given
        return given.get(flag, given.get(_SETTINGS[flag]))

    def has_archive(self, name: str) -> bool:
        """Return whether an archive is to be unpacked to a folder of this name."""
        return any(archive.endswith(f"#{name}") for archive in (self.value("--archives") or "").split(","))

    def add(self, flag: str, value: str) -> None:
        """Put a flag before all others."""
        self.words = [flag, value, *self.words]

    def extend(self, flag: str, value: str) -> None:
        """Add to a list that the options may have already: of two, spark-submit would take the last alone."""
        before = self.value(flag)
        self.words += [flag, f"{value},{before}" if before else value]

    def add_java(self, setting: str, option: str) -> None:
        """Put an option of Java before those that a setting has: of two that disagree, Java takes the last."""
        self.words += ["--conf", f"{setting}={option} {self.given[setting]}"]

    def default(self, setting: str, value: str) -> None:
        """--conf setting=value, unless the options set it already."""
        if setting not in self.given:
            self.add("--conf", f"{setting}={value}")
