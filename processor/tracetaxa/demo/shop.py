"""Traffic of a simulated shop's support assistant, with planted behaviours.

The wording is data (`shop.yaml`); this module draws customers, facts, sessions and times. Deterministic by
seed: every session has its own random generator, so the same seed gives the same traces however far they are
consumed.
"""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any

from tracetaxa.demo.behaviours import Behaviour, Step, behaviours, records
from tracetaxa.demo.traffic import (
    HOUR_NS,
    SECOND_NS,
    Answered,
    Call,
    PlannedTrace,
    Said,
    Session,
    Traffic,
    Turn,
    plan,
)
from tracetaxa.demo.web import web_request
from tracetaxa.demo.wording import filled, say, sentence, shop_words, with_typos

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AGENT = "shop-assistant"
WEB_TRACES_PER_AGENT_TRACE = 0.05
"""Most pipelines carry other traffic too."""

_SYSTEM = "You are the support assistant of a home and outdoor shop. Use the tools; be brief and friendly."
_STANDARD_MODEL, _PREMIUM_MODEL = "gpt-5-mini", "gpt-5.1"
_OLD_RELEASE, _NEW_RELEASE = "2.3.1", "2.4.0"
_NEW_RELEASE_SHARE = 0.4
"""The new release serves this last part of the period."""
_LAST_START_NS = -900 * SECOND_NS
"""No session starts later, so that no trace ends after the traffic."""
_MOST_TURNS = 4

_PREMIUM = 0.2
_LOOKS_AROUND = 0.42
_FLAKY_TOOL = 0.02
_FEEDBACK = 0.4
_TIP = 0.5
_DETAIL = 0.75
_ASIDE = 0.3
_GREETING = 0.7
_CLOSING = 0.5
_ANGRY = 0.25
_LOWER_CASE = 0.2
_TYPOS = 0.35


def shop_traffic(traces: int, seed: int, hours: int = 20) -> Traffic:
    """`traces` agent traces, and a few of plain web traffic, over the last `hours`."""
    return Traffic("a simulated shop's support assistant", hours, lambda: _traces(traces, seed, hours))


def _traces(traces: int, seed: int, hours: int) -> Iterator[PlannedTrace]:
    rng = _generator(seed, "web")
    sent = 0
    due = 0.0
    for session in sessions(traces, seed, hours):
        for trace in plan(session):
            yield trace
            sent += 1
            due += WEB_TRACES_PER_AGENT_TRACE
            if due >= 1:
                due -= 1
                yield web_request(f"web-{sent}", int(rng.uniform(-hours * HOUR_NS, _LAST_START_NS)), rng)


def sessions(traces: int, seed: int, hours: int) -> Iterator[Session]:
    """Sessions with `traces` turns in all, where every behaviour occurs if there are enough of them."""
    planted = behaviours()
    weights = [behaviour.weight for behaviour in planted]
    rng = _generator(seed, "order")
    once = rng.sample(planted, len(planted))
    number = 0
    while traces > 0:
        behaviour = once.pop() if once else rng.choices(planted, weights)[0]
        session = _session(behaviour, f"session-{number}", _generator(seed, number), traces, hours)
        traces -= len(session.turns)
        number += 1
        yield session


def _generator(seed: int, purpose: str | int) -> random.Random:
    return random.Random(f"{seed}:{purpose}")  # noqa: S311


# -------------------------------------------------------------------------------- a session


def _session(behaviour: Behaviour, key: str, rng: random.Random, most_turns: int, hours: int) -> Session:
    premium = rng.random() < _PREMIUM
    facts = _facts(behaviour, premium, rng)
    model = _PREMIUM_MODEL if premium else _STANDARD_MODEL
    start = first_start = int(rng.uniform(-hours * HOUR_NS, _LAST_START_NS))
    turns: list[Turn] = []
    while len(turns) < min(most_turns, _MOST_TURNS) and (not turns or rng.random() < behaviour.writes_again):
        request = _follow_up(behaviour, facts, rng) if turns else _request(behaviour, facts, rng)
        turns.append(_turn(behaviour, f"{key}/{len(turns)}", start, request, facts, model, rng))
        start += turns[-1].duration_ns + int(rng.uniform(20, 120) * SECOND_NS)
    release = _NEW_RELEASE if first_start > -_NEW_RELEASE_SHARE * hours * HOUR_NS else _OLD_RELEASE
    return Session(
        session_id=f"conv-{rng.getrandbits(48):012x}",
        user_id=f"user-{rng.randrange(10_000):04d}",
        agent=AGENT,
        provider="openai",
        system=_SYSTEM,
        resource={
            "service.name": AGENT,
            "service.version": release,
            "deployment.environment.name": "production",
        },
        turns=tuple(turns),
        attributes={"user.tier": facts["tier"], "channel": rng.choice(("web", "app", "email"))},
    )


def _facts(behaviour: Behaviour, premium: bool, rng: random.Random) -> dict[str, Any]:
    """What this customer has bought, is called and so on: the same in every turn."""
    words = shop_words()
    first = rng.choice(words["first_names"])
    days, many_days = rng.randrange(3, 12), rng.randrange(41, 190)
    return {
        **{name: rng.choice(values) for name, values in words["fill"].items()},
        "product": rng.choice(behaviour.products),
        "home": f"{rng.randrange(1, 180)} {rng.choice(words['fill']['street'])}",
        "first": first,
        "tier": "premium" if premium else "standard",
        "email": f"{first.lower()}{rng.randrange(10, 99)}@example.com",
        "customer": f"C{rng.randrange(100_000, 999_999)}",
        "ticket": f"T-{rng.randrange(10_000, 99_999)}",
        "order": str(rng.randrange(10**7, 10**10)),
        "long_order": str(rng.randrange(10**10, 10**13)),
        "amount": f"£{rng.randrange(9, 400)}.{rng.choice(('00', '49', '95', '99'))}",
        "status": behaviour.status,
        "placed": f"{many_days if behaviour.is_old else days} days ago",
        "days": days,
        "many_days": many_days,
        "units": rng.randrange(2, 40),
        "number": rng.randrange(1, 180),
        "year": rng.randrange(2015, 2026),
    }


def _turn(
    behaviour: Behaviour,
    key: str,
    start_ns: int,
    request: str,
    facts: Mapping[str, Any],
    model: str,
    rng: random.Random,
) -> Turn:
    """The assistant looks things up, one call after a model call each, and answers."""
    told = {
        **facts,
        "request": request,
        "words_of_request": " ".join(re.findall(r"[^\W\d_]{4,}", request)[-5:]).lower(),
        "found_articles": rng.sample(shop_words()["articles"], 3),
    }
    clock_ns = int(rng.uniform(0.005, 0.05) * SECOND_NS)
    context_tokens = 240 + len(request) // 4
    script: list[Said | Answered] = [Said(request)]
    failure = ""
    for step in _steps(behaviour, rng):
        text, tokens = rng.choice(shop_words()["agent_working"]), 40 + rng.randrange(12)
        latency_ns = _latency_ns(model, tokens, rng)
        call = _call(step, told, clock_ns + latency_ns, rng)
        script.append(Answered(text, clock_ns, latency_ns, (call,), model, context_tokens, tokens))
        clock_ns += latency_ns + call.duration_ns
        context_tokens += tokens + len(call.result) // 4
        if call.error and rng.random() < behaviour.gives_up:
            failure = call.error
            break
    else:
        reply = _reply(behaviour, told, rng)
        tokens = 4 + len(reply) // 4
        latency_ns = _latency_ns(model, tokens, rng)
        script.append(Answered(reply, clock_ns, latency_ns, (), model, context_tokens, tokens))
    feedback = {}
    if rng.random() < _FEEDBACK:
        feedback["user_thumbs"] = 1.0 if rng.random() < behaviour.thumbs_up else 0.0
    return Turn(key, start_ns, tuple(script), behaviour.truth, feedback, failure)


def _latency_ns(model: str, tokens: int, rng: random.Random) -> int:
    per_token = 0.012 if model == _STANDARD_MODEL else 0.025
    return int((rng.lognormvariate(-0.4, 0.4) + tokens * per_token) * SECOND_NS)


def _steps(behaviour: Behaviour, rng: random.Random) -> Iterator[Step]:
    """The behaviour's steps after some records that are read in any kind; a flaky tool is called again."""
    needed = {step["tool"] for step in behaviour.steps}
    around = [step for tool, step in records().items() if tool not in needed and rng.random() < _LOOKS_AROUND]
    rng.shuffle(around)
    for step in [*(around if behaviour.looks_around else ()), *behaviour.steps]:
        if rng.random() >= step.get("chance", 1.0):
            continue
        if rng.random() < _FLAKY_TOOL:
            yield {**step, "error": "ToolTimeout: no answer within 5 s", "seconds": (5.0, 5.1)}
        yield step


def _call(step: Step, facts: Mapping[str, Any], start_ns: int, rng: random.Random) -> Call:
    error = say(step.get("error", ""), rng, facts)
    result = {"error": error} if error else filled(step["result"], rng, facts)
    return Call(
        call_id=f"call_{rng.getrandbits(64):016x}",
        tool=step["tool"],
        arguments=json.dumps(filled(step["arguments"], rng, facts), ensure_ascii=False),
        result=json.dumps(result, ensure_ascii=False),
        start_ns=start_ns,
        duration_ns=int(rng.uniform(*step["seconds"]) * SECOND_NS),
        error=error,
    )


# -------------------------------------------------------------------------------- what is said


def _request(behaviour: Behaviour, facts: Mapping[str, Any], rng: random.Random) -> str:
    """The request, and some of: greeting, detail, order number, aside, impatience, closing, typos."""
    words = shop_words()
    parts = [sentence(rng.choice(behaviour.requests), rng, facts)]
    if rng.random() < _DETAIL:
        parts.append(sentence(rng.choice(behaviour.details), rng, facts))
    if behaviour.reference:
        reference = {"reference": facts[behaviour.reference]}
        parts.append(sentence(rng.choice(words["references"]), rng, reference))
    if rng.random() < _ASIDE:
        parts.insert(rng.randint(1, len(parts)), sentence(rng.choice(behaviour.asides), rng, facts))
    if rng.random() < _anger(behaviour):
        parts.insert(rng.randint(1, len(parts)), rng.choice(words["angry"]))
    if rng.random() < _GREETING:
        parts.insert(0, rng.choice(words["openers"]) + rng.choice(("!", ".")))
    if rng.random() < _CLOSING:
        parts.append(sentence(rng.choice(words["closers"]), rng, facts))
    text = " ".join(parts)
    if rng.random() < _LOWER_CASE:
        text = text.lower()
    return with_typos(text, rng) if rng.random() < _TYPOS else text


def _follow_up(behaviour: Behaviour, facts: Mapping[str, Any], rng: random.Random) -> str:
    text = sentence(rng.choice(behaviour.follow_ups), rng, facts)
    return f"{text} {rng.choice(shop_words()['angry'])}" if rng.random() < 2 * _anger(behaviour) else text


def _anger(behaviour: Behaviour) -> float:
    """Who is not helped is angrier."""
    return _ANGRY * (1.1 - behaviour.thumbs_up)


def _reply(behaviour: Behaviour, facts: Mapping[str, Any], rng: random.Random) -> str:
    words = shop_words()
    parts = [
        say(rng.choice(words["agent_openers"]), rng, facts),
        sentence(rng.choice(behaviour.replies), rng, facts),
    ]
    if rng.random() < _TIP:
        parts.append(rng.choice(words["agent_tips"]))
    parts.append(rng.choice(words["agent_closers"]))
    return " ".join(filter(None, parts))
