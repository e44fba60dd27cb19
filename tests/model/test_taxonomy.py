"""Categories under new names, and categories that are paths."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bc4all.config.category_map import CategoryMap, Renaming, read_category_map
from bc4all.errors import ConfigurationError
from bc4all.model.evaluation import evaluate
from bc4all.model.taxonomy import levels, rename


def written(folder: Path, text: str) -> Path:
    """A configuration's path, with client x's map beside it."""
    (folder / "category_map").mkdir()
    (folder / "category_map" / "x.csv").write_text(text)
    return folder / "clients.yaml"


def test_a_name_follows_its_changes(tmp_path: Path) -> None:
    """A category is called what it was last renamed to by a date; before, what it was called then."""
    text = "old,new,from\nphones,mobiles,2026-01-01\nmobiles,smartphones,2026-03-01\n\ntvs,televisions,\n"
    found = read_category_map(written(tmp_path, text), "x")
    assert found
    assert found.names("2025-12-31") == {"tvs": "televisions"}
    assert found.names("2026-02-01") == {"tvs": "televisions", "phones": "mobiles"}
    later = {"tvs": "televisions", "phones": "smartphones", "mobiles": "smartphones"}
    assert found.names("2026-03-01") == later
    assert read_category_map(tmp_path / "clients.yaml", "other") is None


def test_dates_are_optional(tmp_path: Path) -> None:
    """Two columns rename for good; a byte order mark and quotes are no part of a name."""
    found = read_category_map(written(tmp_path, '\ufeffold,new\n"a, b",c\n'), "x")
    assert found
    assert found.names("2026-01-01") == {"a, b": "c"}


def test_names_with_spaces_around_them_can_be_renamed(tmp_path: Path) -> None:
    """As they are delivered; spaces that only the map has are no part of a name."""
    text = 'old,new\n"Shoes ",Shoes\n"\u00a0Shoes",Shoes\nHats , Caps\n"Ties ",Scarves\nTies,Bows\n'
    found = read_category_map(written(tmp_path, text), "x")
    assert found
    shoes = {"Shoes ": "Shoes", "\u00a0Shoes": "Shoes"}
    assert found.names("2026-01-01") == shoes | {"Hats ": "Caps", "Hats": "Caps", "Ties ": "Scarves", "Ties": "Bows"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("old,new,from\na,b,\nb,c,\nc,a,2026-01-01\n", "x.csv:2: a -> b -> c -> a goes round"),
        ("old,new\na,a\n", "x.csv:2: a -> a goes round"),
        ("a,b\n", "x.csv:1: the columns are ['a', 'b'] (write old,new,from)"),
        ("old,new\na\n", "x.csv:2: ['a'] is no old,new"),
        ("old,new\na,\n", "x.csv:2: ['a', ''] is no old,new"),
        ("old,new,from\na,b,yesterday\n", "x.csv:2: 'yesterday' is not a date"),
        ("old,new\na,b\na,c\n", "x.csv:3: 'a' is renamed already in line 2"),
        ("", "x.csv:1: the columns are []"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    """Cycles, wrong columns, missing names, no dates, and two names for one are refused."""
    with pytest.raises(ConfigurationError) as caught:
        read_category_map(written(tmp_path, text), "x")
    assert complaint in str(caught.value).replace(f"{tmp_path}/category_map/", "")


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("ghij"), max_size=6))
def test_labels_are_what_a_loop_would_call_them(new: dict[str, str]) -> None:
    """Renaming codes gives each row its label's new name, whichever of them become one."""
    names, codes = np.array(list("abcdef"), dtype=object), np.array([5, 0, 1, 1, 3, 2, 4], dtype=np.int32)
    merged, places = rename(names, codes, new)
    assert merged[places].tolist() == [new.get(names[code], names[code]) for code in codes]
    assert merged.tolist() == sorted(set(merged.tolist()))
    assert places.dtype == np.int32


@given(st.dictionaries(st.sampled_from("abcde"), st.sampled_from("abcde"), max_size=5))
def test_a_cycle_is_found_wherever_it_is(new: dict[str, str]) -> None:
    """Whatever renames what: either every name comes to an end that is renamed no more, or it is refused."""
    found = CategoryMap(Path("x.csv"), tuple(Renaming(old, name, "", 2) for old, name in new.items()))
    try:
        names = found.names("2026-01-01")
    except ConfigurationError:
        return
    assert not set(names.values()) & set(new)


def test_paths_have_parents() -> None:
    """Each level above the deepest, with each category's parent there; a short path stays what it is."""
    names = ["Home > Kitchen > Kettles", "Home > Kitchen > Pans", "Home>Garden", "Toys"]
    found = {level: parents[places].tolist() for level, parents, places in levels(names, ">")}
    assert found == {
        1: ["Home", "Home", "Home", "Toys"],
        2: ["Home > Kitchen", "Home > Kitchen", "Home > Garden", "Toys"],
    }
    assert list(levels(["a", "b"], ">")) == []


class Fixed:
    """A model that gives every product the same probabilities."""

    classes_ = np.array(["a > 1", "a > 2", "b > 1"], dtype=object)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """A third category tops two that share a parent."""
        return np.tile([0.3, 0.3, 0.4], (len(X), 1))


def test_a_parent_has_its_childrens_sum() -> None:
    """Where two children share what a third category tops alone, the parent is right and the category is not."""
    truth = np.array(["a > 2", "a > 1", "b > 1", "b > 2", "a"], dtype=object)
    result = evaluate(Fixed(), np.zeros((5, 1)), truth, ">")
    assert (result.metrics["accuracy"], result.metrics["accuracy_level_1"]) == (0.2, 0.6)
