"""Every mistake in an analysis names its file, its line and the setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_origin

import pytest
import yaml

from tracetaxa.config import AnalysisConfig, load
from tracetaxa.config.loading import model_in
from tracetaxa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import BaseModel

WRONG = {"no": {"such": "value"}}
"""A value that no setting takes."""


def settings(model: type[BaseModel], prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all settings, sections and lists included."""
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        inner = model_in(field.annotation)
        if inner is None:
            yield path
        elif get_origin(field.annotation) is tuple:
            yield path
            yield from settings(inner, (*path, 0))
        else:
            yield from settings(inner, path)


def document(path: tuple[str | int, ...], value: Any) -> Any:
    """The value at this path, and nothing else but names where lists must have them."""
    if not path:
        return value
    first, *rest = path
    inner = document(tuple(rest), value)
    return [inner] if isinstance(first, int) else {first: inner}


PATHS = [path for path in settings(AnalysisConfig) if path != ("filter", "attributes")]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_wrong_value(path: tuple[str | int, ...], tmp_path: Path) -> None:
    text = yaml.safe_dump({"analyses": [{"name": "good"}, document(path, WRONG)]}, sort_keys=False)
    line = next(
        number
        for number, content in enumerate(text.splitlines(), 1)
        if content.strip().removeprefix("- ").startswith(f"{path[-1]}:") and "good" not in content
    )
    file = tmp_path / "tracetaxa.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file)
    place = ".".join(map(str, ("analyses", 1, *path)))
    assert any(told.startswith(f"{file}:{line}: {place}") for told in str(refused.value).splitlines())


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            "schedule: every night",
            4,
            "analyses.1.schedule: 'every night' is not a cron expression such as '0 3",
        ),
        ("schedule: '0 25 * * *'", 4, "analyses.1.schedule: .*: bad hour"),
        ("schedule: '0 0 3 * * *'", 4, "analyses.1.schedule: .*five fields"),
        ("schedule: '@daily'", 4, "analyses.1.schedule: .*five fields"),
        ("schedule: '0 0 30 2 *'", 4, "analyses.1.schedule: .*bad day-of-month"),
        ("schedule: '* * */20 2 1L'", 4, "analyses.1.schedule: .*never comes"),
        ("time_zone: Europe/Berln", 4, "analyses.1.time_zone: 'Europe/Berln' is not a time zone"),
        ("time_zone: /etc/passwd", 4, "analyses.1.time_zone: '/etc/passwd' is not a time zone"),
        ("name: topics", 4, "analyses.1.name: two analyses are called 'topics'"),
        ("windw: 24h", 4, "analyses.1.windw: unknown key 'windw'; did you mean 'window'"),
        ("window: 24x", 4, "analyses.1.window: '24x' is not a duration"),
        ("sample:\n      strategy: tools", 4, "analyses.1.sample: the strategy needs `tools`"),
        (
            (
                "attributes:\n      - {name: a, type: string}\n      - {name: b, type: string}\n"
                "      - {name: a, type: number}"
            ),
            7,
            "analyses.1.attributes.2.name: two attributes have the same name, 'a'",
        ),
        (
            "attributes:\n      - {name: a, type: string}\n      - {name: b, type: enum}",
            6,
            "analyses.1.attributes.1: ",
        ),
        (
            "taxonomy:\n      predefined:\n        - {name: Refunds}\n        - {name: refunds!}",
            7,
            "analyses.1.taxonomy.predefined.1: two predefined categories have the id 'refunds'",
        ),
    ],
)
def test_a_mistake(text: str, line: int, message: str, tmp_path: Path) -> None:
    file = tmp_path / "tracetaxa.yaml"
    file.write_text(f"analyses:\n  - name: topics\n    window: 1h\n  - {text}\n")
    with pytest.raises(ConfigError, match=f"^{file}:{line}: {message}"):
        load(file)


def test_a_lease_is_longer_than_a_claim(tmp_path: Path) -> None:
    file = tmp_path / "tracetaxa.yaml"
    file.write_text("api: {}\nscheduler:\n  lease_seconds: 3\n  claim_seconds: 2\n")
    with pytest.raises(ConfigError, match=f"^{file}:2: scheduler: `lease_seconds` must be at least twice"):
        load(file)
