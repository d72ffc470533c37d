"""An analysis that is killed and made again pays only for what was not answered yet."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tracetaxa.demo.child import child_environment
from tracetaxa.testing import Oracle, ScriptedModel

if TYPE_CHECKING:
    from product import Product

KINDS = {
    "refund": ("Refunds", "Late refund"),
    "parcel": ("Deliveries", "Lost parcel"),
    "password": ("Accounts", "Forgotten password"),
}
CHATS = 60
CONCURRENCY = 2
DEADLINE_SECONDS = 120


def truth(digest: str) -> tuple[str, str] | None:
    return next((kind for word, kind in KINDS.items() if word in digest), None)


@pytest.mark.slow
def test_killed_in_mid_run(product: Product, tmp_path: Any, monkeypatch: Any) -> None:
    llm = {"engine": "openai", "traces_per_call": 4, "digests_per_batch": 20, "max_concurrency": CONCURRENCY}
    product.configure(llm=llm)
    chats = tmp_path / "chats.jsonl"
    words = list(KINDS)
    with chats.open("w") as file:
        for i in range(CHATS):
            asked = f"Hello, I have a {words[i % 3]} problem, number {i}"
            said = [{"role": "user", "content": asked}, {"role": "assistant", "content": "I see."}]
            file.write(json.dumps({"messages": said}) + "\n")
    product.json("import", str(chats), "--at", "2026-11-22T10:00:00Z", "--format", "json")
    window = ("--from", "2026-11-22T09:00:00Z", "--to", "2026-11-22T11:00:00Z")
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    # Another endpoint is another model to the cache. Both stay open, so that they can't have the same port.
    with slow_model() as model, slow_model() as other:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        for kills in (2, 5, 7):
            killed_after(product, model, kills, "analyze", "topics", *window)
        resumed = product.json("analyze", "topics", *window, "--format", "json")
        calls = model.usage.calls
        again = product.json("analyze", "topics", *window, "--format", "json")
        assert model.usage.calls == calls
        assert (resumed["status"], resumed["labelled"], resumed["abstained"]) == ("complete", CHATS, 0)
        assert again["run_id"] == resumed["run_id"]
        # Killed three times, it is one run.
        (run,) = product.json("report", "--runs", "--format", "json")["runs"]
        assert (run["run_id"], run["status"], run["error"]) == (resumed["run_id"], "complete", None)
        labels = {row["Category"]: row["n"] for row in product.rows(BY_CATEGORY)}
        assert labels == {"Refunds": 20, "Deliveries": 20, "Accounts": 20}

        monkeypatch.setenv("OPENAI_BASE_URL", other.base_url)
        undisturbed = product.json("analyze", "topics", *window, "--seed", "1", "--format", "json")
        assert undisturbed["labelled"] == CHATS
        assert calls <= other.usage.calls + 3 * CONCURRENCY


BY_CATEGORY = "SELECT Category, count() AS n FROM trace_labels_current GROUP BY Category"


def slow_model() -> ScriptedModel:
    oracle = Oracle(truth)

    def answer(messages: Any, schema: Any) -> Any:
        time.sleep(0.05)  # so that a kill finds calls under way
        return oracle(messages, schema)

    return ScriptedModel(answer)


def killed_after(product: Product, model: ScriptedModel, calls: int, *arguments: str) -> None:
    """Run a command and kill it when so many more calls have been answered."""
    goal = model.usage.calls + calls
    process = subprocess.Popen(
        [sys.executable, "-m", "tracetaxa.cli", *arguments, "--config", str(product.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=child_environment(),
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    beat = threading.Event()
    while model.usage.calls < goal and process.poll() is None and time.monotonic() < deadline:
        beat.wait(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    process.kill()
    process.wait()
