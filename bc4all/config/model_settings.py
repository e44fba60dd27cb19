"""What `model:` may say beside a classifier's path: `auto`, or a blend.

model:
  blend:
    - {classifier: sklearn.ensemble.ExtraTreesClassifier, params: {min_samples_leaf: 5}, weight: 2}
    - classifier: sklearn.linear_model.LogisticRegression
      transform: [sklearn.preprocessing.StandardScaler, {sklearn.kernel_approximation.Nystroem: {gamma: 0.1}}]
  calibrate: temperature
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from bc4all.kinds import Calibration

AUTO = "auto"  # the best of a short list: `candidates`
# How pydantic calls the two, in the places of faults.
KIND_TAGS = ("a path", "a blend")


def _transform(said: Any) -> Any:
    """(path, parameters) of each transformer, said as a path or as {path: parameters}."""
    if not isinstance(said, list | tuple):
        raise ValueError("this must be a list of transformers")  # noqa: TRY004 - which pydantic tells
    steps = []
    for item in said:
        if isinstance(item, tuple):  # read before
            steps.append(item)
        elif isinstance(item, str):
            steps.append((item, {}))
        elif isinstance(item, dict) and len(item) == 1 and isinstance(next(iter(item.values())), dict):
            steps.append(next(iter(item.items())))
        else:
            raise ValueError(f"{item!r} is neither a transformer's path nor {{path: {{parameter: value}}}}")
    return tuple(steps)


Transform = Annotated[tuple[tuple[str, dict[str, Any]], ...], BeforeValidator(_transform)]


class MemberSettings(BaseModel):
    """One classifier of a blend, and what stands before it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    classifier: str
    params: dict[str, Any] = {}
    transform: Transform = ()  # of numbers alone: other kinds are prepared by `preprocessing`
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @property
    def key(self) -> str:
        """Equal for equal ones."""
        return self.model_dump_json()

    def said(self) -> dict[str, Any]:
        """As the configuration would say it: no defaults."""
        steps = [{path: params} if params else path for path, params in self.transform]
        weight = {} if self.weight == 1.0 else {"weight": self.weight}
        params = {"params": self.params} if self.params else {}
        return {"classifier": self.classifier, **({"transform": steps} if steps else {}), **params, **weight}


class BlendSettings(BaseModel):
    """A soft vote of classifiers, of one at least, calibrated or not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    blend: Annotated[list[MemberSettings], Field(min_length=1)]
    calibrate: Calibration | None = None

    @property
    def name(self) -> str:
        """The classifiers, short."""
        names = counted(member.classifier.rpartition(".")[2] for member in self.blend)
        return f"{names}, {self.calibrate}" if self.calibrate else names

    def said(self) -> dict[str, Any]:
        """As the configuration would say it."""
        calibrate = {"calibrate": self.calibrate} if self.calibrate else {}
        return {"blend": [member.said() for member in self.blend], **calibrate}


def counted(names: Iterable[str]) -> str:
    """Return `a + 2 b`, of a, b, b."""
    return " + ".join(f"{count} {name}" if count > 1 else name for name, count in Counter(names).items())


def _kind(said: Any) -> str:
    return KIND_TAGS[0] if isinstance(said, str) else KIND_TAGS[1]


ModelChoice: TypeAlias = Annotated[
    Annotated[str, Tag(KIND_TAGS[0])] | Annotated[BlendSettings, Tag(KIND_TAGS[1])], Discriminator(_kind)
]


def as_blend(model: str | BlendSettings, params: Mapping[str, Any]) -> BlendSettings:
    """Return any choice but `auto` as a blend; the parameters are over those of its one member."""
    blend = BlendSettings(blend=[MemberSettings(classifier=model)]) if isinstance(model, str) else model
    if not params:
        return blend
    (member,) = blend.blend
    return blend.model_copy(update={"blend": [member.model_copy(update={"params": {**member.params, **params}})]})
