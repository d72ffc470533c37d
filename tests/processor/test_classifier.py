from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from factories import trace_row
from labelled import TAXONOMY, TOPICS, labelled
from tracetaxa.errors import ClassifierUnreadable, NotEnoughLabels
from tracetaxa.label.classifier import Classifier
from tracetaxa.records import OTHER, Assignment, Category, Taxonomy

KNOWN = labelled(300)
NEW = labelled(240, seed=1)
with threadpool_limits(1):
    CLASSIFIER = Classifier.train(KNOWN.traces, KNOWN.labels, TAXONOMY)
CLINC = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def _one_thread():
    """As where it is used: on a busy machine threads wait for each other."""
    with threadpool_limits(1):
        yield


class Shapes:
    """Embeds a text by which letters it has, which is enough to tell that the same text is the same."""

    name = "shapes"

    def embed(self, texts):
        vectors = np.array([[1.0, *(text.count(letter) for letter in "aeioustnr")] for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_predicts_both_levels_of_traces_it_has_not_seen():
    told = CLASSIFIER.predict(NEW.traces)
    kept = [(p, true) for p, true in zip(told, NEW.labels, strict=True) if not p.abstained]
    assert len(kept) > 0.9 * len(told)
    assert np.mean([p.category_id == true.category_id for p, true in kept]) > 0.97
    told_sub = [(p, true) for p, true in kept if p.subcategory_id]
    assert len(told_sub) > 0.8 * len(kept)
    assert np.mean([p.subcategory_id == true.subcategory_id for p, true in told_sub]) > 0.9


def test_a_subcategory_is_of_its_category():
    pairs = {(p.category_id, p.subcategory_id) for p in CLASSIFIER.predict(NEW.traces) if p.subcategory_id}
    assert pairs <= set(TOPICS)


def test_names_the_labelled_trace_that_is_most_like():
    by_id = {trace.trace_id: label for trace, label in zip(KNOWN.traces, KNOWN.labels, strict=True)}
    told = CLASSIFIER.predict(NEW.traces)
    same = [
        by_id[p.nearest_id].category_id == true.category_id for p, true in zip(told, NEW.labels, strict=True)
    ]
    assert np.mean(same) > 0.9
    again = CLASSIFIER.predict(KNOWN.traces[:20])
    assert [p.nearest_id for p in again] == [row.trace_id for row in KNOWN.traces[:20]]


@pytest.mark.parametrize(
    "request_text",
    ["", "zyxw vutsr qponm lkjih", "Wie wird das Wetter in Köln?", "明日の天気は", "\ud800 \x00 ☃"],
)
def test_abstains_where_nothing_is_like_what_it_learned(request_text):
    strange = trace_row(
        request=request_text, service_name="else", root_name="else", tools=("forecast",), output=""
    )
    [told] = CLASSIFIER.predict([strange])
    assert (told.abstained, told.category_id, told.subcategory_id) == (True, OTHER, "")
    assert told.likely_id in CLASSIFIER.categories
    assert told.likeness < 0.1


def test_abstains_between_two_kinds():
    torn = trace_row(request="refund money charged parcel courier tracking", tools=(), output="")
    [told] = CLASSIFIER.predict([torn])
    assert told.confidence < 0.9
    sure = Classifier.train(KNOWN.traces, KNOWN.labels, TAXONOMY, least_confidence=0.0, unlike=0.0)
    assert not any(p.abstained for p in sure.predict([torn, *NEW.traces]))


def test_confidence_is_the_chance_of_being_right():
    """With three labels in ten wrong, and no way to tell which, nobody can be sure."""
    noisy, fresh = labelled(600, seed=2, noise=0.3), labelled(600, seed=3, noise=0.3)
    told = Classifier.train(noisy.traces, noisy.labels, TAXONOMY).predict(fresh.traces)
    right = [p.likely_id == true.category_id for p, true in zip(told, fresh.labels, strict=True)]
    assert 0.6 < np.mean(right) < 0.75
    assert abs(np.mean([p.confidence for p in told]) - np.mean(right)) < 0.06


def test_weights_say_where_confidence_is_to_hold():
    """Short requests have random labels: it is right less often where most traffic is short ones."""
    rng = random.Random(4)
    known = labelled(400, seed=4)
    short = [trace_row(f"s{i}", request="refund parcel account", tools=(), output="") for i in range(100)]
    kinds = [rng.choice(list(TOPICS)) for _ in short]
    labels = [*known.labels, *(Assignment(f"s{i}", *kind) for i, kind in enumerate(kinds))]
    traces = [*known.traces, *short]
    plain = Classifier.train(traces, labels, TAXONOMY)
    heavy = Classifier.train(traces, labels, TAXONOMY, weights=[1.0] * 400 + [20.0] * 100)
    for of in ("refund parcel account", NEW.traces[0].input):
        [a], [b] = (c.predict([trace_row(request=of, tools=(), output="")]) for c in (plain, heavy))
        assert b.confidence <= a.confidence


def test_cross_predictions_come_from_folds_that_did_not_see_the_trace():
    """A label that contradicts its trace is learned, but not by the folds that judge that trace."""
    odd = [
        trace_row(f"odd{i}", request=f"xqz{'abcdefghij'[i]} wvk{i}", tools=(), output="") for i in range(10)
    ]
    rng = random.Random(5)
    labels = [Assignment(row.trace_id, rng.choice(["refunds", "deliveries"])) for row in odd]
    made = Classifier.train(
        [*KNOWN.traces, *odd], [*KNOWN.labels, *labels], TAXONOMY, least_confidence=0.0, unlike=0.0
    )
    assert len(made.cross_predictions) == len(made.trace_ids) == 310
    crossed = dict(zip(made.trace_ids, made.cross_predictions, strict=True))
    truth = {label.trace_id: label.category_id for label in KNOWN.labels}
    assert np.mean([crossed[i].category_id == kind for i, kind in truth.items()]) > 0.95
    assert all(crossed[row.trace_id].confidence < 0.8 for row in odd)
    assert all(prediction.nearest_id != i for i, prediction in crossed.items())


def test_what_decides_may_be_the_outcome():
    """Kinds of failures: what was asked is the same for all."""
    rng = random.Random(6)
    requests = [row.input for row in NEW.traces]
    errors = {
        "timeouts": "the connection timed out after 30 s",
        "refusals": "permission denied for this user",
    }
    taxonomy = Taxonomy(
        (*(Category(k, k, "") for k in errors), Category("fine", "", ""), Category(OTHER, "", ""))
    )

    def case(i: int) -> tuple:
        kind = ("timeouts", "refusals", "fine")[i % 3]
        lines = [("user", rng.choice(requests)), ("tool", "look_up(id=7)"), ("assistant", "Here you are.")]
        if kind in errors:
            lines.insert(2, ("error", errors[kind]))
        row = trace_row(
            f"t{i}",
            digest_kinds=tuple(k for k, _ in lines),
            digest_texts=tuple(text for _, text in lines),
            digest_span_ids=("a",) * len(lines),
            error_count=int(kind in errors),
            status="Error" if kind in errors else "Unset",
        )
        return row, Assignment(f"t{i}", kind)

    rows, labels = zip(*(case(i) for i in range(240)), strict=True)
    told = Classifier.train(rows[:150], labels[:150], taxonomy).predict(rows[150:])
    assert np.mean([p.category_id == x.category_id for p, x in zip(told, labels[150:], strict=True)]) > 0.95


def test_other_is_a_kind_like_any_when_it_is_labelled():
    weather = [
        trace_row(f"w{i}", request=f"weather forecast rain {word} tomorrow", tools=(), output="")
        for i, word in enumerate(["sun", "wind", "snow", "storm", "cloud"] * 10)
    ]
    labels = [Assignment(row.trace_id, OTHER, confidence=0.8) for row in weather]
    made = Classifier.train([*KNOWN.traces, *weather], [*KNOWN.labels, *labels], TAXONOMY)
    [told] = made.predict([trace_row(request="weather forecast hail tomorrow", tools=(), output="")])
    assert (told.category_id, told.abstained, told.subcategory_id) == (OTHER, False, "")


def test_what_has_hardly_any_labels_is_never_predicted():
    few = [label for label in KNOWN.labels if label.category_id != "accounts"]
    few += [label for label in KNOWN.labels if label.category_id == "accounts"][:2]
    few = [label for label in few if label.subcategory_id != "lost"] + [
        label for label in few if label.subcategory_id == "lost"
    ][:2]
    made = Classifier.train(KNOWN.traces, few, TAXONOMY, least_confidence=0.0, unlike=0.0)
    assert made.categories == ("refunds", "deliveries")
    told = made.predict(NEW.traces)
    assert {p.category_id for p in told} == {"refunds", "deliveries"}
    assert "lost" not in {p.subcategory_id for p in told}


def test_two_labels_of_a_kind_count_as_got_wrong():
    """Folds can't know a kind that is not learned: their confidence says so."""
    rare = [Category(f"rare{i}", "", "") for i in range(40)]
    taxonomy = Taxonomy((*TAXONOMY.categories, *rare))
    changed = [
        Assignment(label.trace_id, f"rare{i // 2}") if i < 80 else label
        for i, label in enumerate(KNOWN.labels)
    ]
    made = Classifier.train(KNOWN.traces, changed, taxonomy)
    known = CLASSIFIER.predict(NEW.traces)
    told = made.predict(NEW.traces)
    assert np.mean([p.confidence for p in told]) < np.mean([p.confidence for p in known]) - 0.1


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (KNOWN.labels[:39], "39 labelled traces are too few"),
        ([], "0 labelled traces"),
        ([Assignment(label.trace_id, OTHER, abstained=True) for label in KNOWN.labels], "0 labelled traces"),
        ([Assignment(label.trace_id, "unheard of") for label in KNOWN.labels], "0 labelled traces"),
        ([Assignment(label.trace_id, "refunds") for label in KNOWN.labels], "fewer than two categories"),
        ([Assignment(f"not there {i}", "refunds") for i in range(100)], "0 labelled traces"),
    ],
)
def test_too_few_labels_are_told(labels, told):
    with pytest.raises(NotEnoughLabels, match=f"{told}.*sample.size"):
        Classifier.train(KNOWN.traces, labels, TAXONOMY)


def test_the_same_labels_in_any_order_give_the_same_classifier():
    shuffled = random.Random(7).sample(range(300), 300)
    again = Classifier.train(
        [KNOWN.traces[i] for i in reversed(shuffled)], [KNOWN.labels[i] for i in shuffled], TAXONOMY
    )
    assert again.version == CLASSIFIER.version
    assert again.dump() == CLASSIFIER.dump()
    assert Classifier.train(KNOWN.traces, KNOWN.labels, TAXONOMY, seed=1).version != CLASSIFIER.version


def test_a_verdict_does_not_depend_on_the_other_traces():
    told = CLASSIFIER.predict(NEW.traces)
    assert [CLASSIFIER.predict([row])[0] for row in NEW.traces[:10]] == told[:10]
    assert CLASSIFIER.predict([]) == []


def test_more_labels_than_it_may_learn_from_are_thinned():
    made = Classifier.train(KNOWN.traces, KNOWN.labels, TAXONOMY, most_labels=120)
    assert len(made.trace_ids) == len(made.cross_predictions) == 120
    kinds = Counter(label.category_id for label in KNOWN.labels if label.trace_id in set(made.trace_ids))
    assert min(kinds.values()) > 20


def test_numbers_in_a_trace_do_not_make_it_another_kind():
    rows = [
        trace_row(request=f"where is order {number} my parcel got lost", tools=(), output="")
        for number in ("W1234567", "W7654321", "998877665544")
    ]
    assert len({(p.category_id, p.confidence, p.nearest_id) for p in CLASSIFIER.predict(rows)}) == 1


def test_embeddings_are_used_and_needed_again():
    made = Classifier.train(KNOWN.traces, KNOWN.labels, TAXONOMY, embedder=Shapes())
    assert (made.embedding, CLASSIFIER.embedding) == ("shapes", "")
    loaded = Classifier.load(made.dump(), Shapes())
    assert loaded.predict(NEW.traces) == made.predict(NEW.traces)
    without = CLASSIFIER.predict(NEW.traces)
    assert (
        np.mean([a.likeness > b.likeness for a, b in zip(made.predict(NEW.traces), without, strict=True)])
        > 0.9
    )
    other = Shapes()
    other.name = "forms"
    with pytest.raises(ClassifierUnreadable, match="embeddings of shapes, and here are none"):
        Classifier.load(made.dump())
    with pytest.raises(ClassifierUnreadable, match="here are those of forms"):
        Classifier.load(made.dump(), other)
    assert Classifier.load(CLASSIFIER.dump(), other).embedding == ""

    class Wider(Shapes):
        def embed(self, texts):
            return np.hstack([super().embed(texts)] * 2)

    with pytest.raises(ClassifierUnreadable, match=r"of 10 dimensions, .* here have 20"):
        Classifier.load(made.dump(), Wider())


def test_a_trace_without_any_text_is_judged_by_its_facts():
    empty = [
        trace_row(f"e{i}", digest_kinds=(), digest_texts=(), digest_span_ids=(), tools=(tool,))
        for i, tool in enumerate(["book", "cancel"] * 40)
    ]
    taxonomy = Taxonomy(tuple(Category(name, "", "") for name in ("booking", "cancelling", OTHER)))
    labels = [Assignment(row.trace_id, ("booking", "cancelling")[i % 2]) for i, row in enumerate(empty)]
    made = Classifier.train(empty, labels, taxonomy)
    assert [p.category_id for p in made.predict(empty[:4])] == ["booking", "cancelling"] * 2
    assert Classifier.load(made.dump()).predict(empty) == made.predict(empty)


def test_scikit_learn_is_not_needed():
    """Predicting must not need what training elsewhere may use; this needs neither."""
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from labelled import *; from tracetaxa.label.classifier import Classifier\n"
        "known = labelled(60)\n"
        "print(len(Classifier.train(known.traces, known.labels, TAXONOMY).predict(known.traces)))"
    )
    tests = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=tests, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "60"


@pytest.mark.skipif(not (CLINC / "clinc150").exists(), reason="CLINC150 is not in ../shared/data")
def test_requests_of_clinc150():
    """One seed of what `python -m bench labels` measures, words alone, with room for the seed."""
    from bench.labels import figures
    from bench.quality_cases import clinc_splits

    case = clinc_splits(CLINC, ["test", "oos_train"])
    found = figures(case, 0, 1000, None, with_other=True)
    assert found["domain"] > 0.86
    assert found["domain_confident"] > 0.95
    assert found["intent_in_right_domain"] > 0.77
    assert found["auroc"] > 0.85
    assert found["ece"] < 0.05
    assert found["out_of_scope_other"] > 0.7
