"""deploy/collector: what can be said of the files without starting them (tests/campaigns does that)."""

from __future__ import annotations

from pathlib import Path

import yaml

from tracetaxa.config import load

CONFIGURATIONS = Path(__file__).parents[2] / "deploy" / "collector"


def test_our_own_are_valid() -> None:
    found = [load(path) for path in CONFIGURATIONS.glob("*.tracetaxa.yaml")]
    assert len(found) == 2


def test_the_sidecar_runs_the_loop() -> None:
    """What the pod's containers read is what the tests above start."""
    documents = list(yaml.safe_load_all((CONFIGURATIONS / "sidecar.yaml").read_text("utf-8")))
    configuration = next(document for document in documents if document["kind"] == "ConfigMap")["data"]
    for name, file in (("collector.yaml", "loop.yaml"), ("tracetaxa.yaml", "loop.tracetaxa.yaml")):
        embedded = yaml.safe_load(configuration[name])
        alone = yaml.safe_load((CONFIGURATIONS / file).read_text("utf-8"))
        if name == "tracetaxa.yaml":
            embedded["store"] = alone["store"]
        assert embedded == alone
