"""What a run would cost, as text: `tracetaxa analyze --dry-run`."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Document = Mapping[str, Any]

_HEAD = ("stage", "model", "calls", "input tokens", "output tokens", "price")
_GAP = "  "
_LEAST_USD = 0.01
NO_LIMIT = "no limit"
UNKNOWN = "unknown"


def render_quote(quote: Document, width: int) -> str:
    """`quote` is the JSON of `--dry-run --format json`, see docs/cli.md."""
    lines = [f"{quote['analysis']}: {_sample(quote)}", *_window(quote), ""]
    if quote["finished_run_id"]:
        told = [
            f"Run {quote['finished_run_id']} is complete over the same traces: it would not be made again."
        ]
    elif quote["engine"] == "local":
        told = ["The local engine works on this machine: it calls no model, and costs nothing."]
    elif not quote["sampled"]:
        told = ["Nothing is to be read, so nothing is to be paid."]
    else:
        lines += [*_table(quote, width), ""]
        told = _sentences(quote)
    told.append("This was only a quote: no model was asked, and no label or report was written.")
    for sentence in told:
        lines += wrap(sentence, width)
    return "\n".join(lines) + "\n"


def _sample(quote: Document) -> str:
    selected, unit = quote["selected"], quote["unit"]
    units = unit if selected == 1 else f"{unit}s"
    read = "all" if quote["sampled"] == selected else f"{quote['sampled']:,}"
    if not selected:
        return f"no closed {unit} matches"
    return f"{selected:,} {units} match, {read} would be read"


def _window(quote: Document) -> list[str]:
    lines = [f"{quote['window_start']} to {quote['window_end']}"]
    if quote["still_open"]:
        lines.append(f"{quote['still_open']:,} {quote['unit']}s are still open and are not counted")
    return lines


def _table(quote: Document, width: int) -> list[str]:
    rows: list[Sequence[str]] = [_HEAD]
    rows += [
        (s["stage"], s["model"], f"{s['calls']:,}", *_tokens(s), _price(s["cost_usd"], UNKNOWN))
        for s in quote["stages"]
    ]
    expected, most = quote["expected"], quote["maximum"]
    rows.append(
        ("expected", "", f"{expected['calls']:,}", *_tokens(expected), _price(expected["cost_usd"], UNKNOWN))
    )
    unlimited = UNKNOWN if expected["cost_usd"] is None else NO_LIMIT
    rows.append(("at most", "", "", *_tokens(most), _price(most["cost_usd"], unlimited)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    spare = width - sum(widths) - len(_GAP) * (len(widths) - 1)
    widths[1] = max(widths[1] + min(spare, 0), len(_HEAD[1]))  # names of models may be long
    lines = [_row(row, widths) for row in rows]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:-2], rule, *lines[-2:]]


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    stage, model, *numbers = row
    model = model if len(model) <= widths[1] else f"{model[: widths[1] - 1]}…"
    cells = [stage.ljust(widths[0]), model.ljust(widths[1])]
    cells += [number.rjust(w) for number, w in zip(numbers, widths[2:], strict=True)]
    return _GAP.join(cells)


def _tokens(use: Document) -> tuple[str, str]:
    return _count(use["input_tokens"]), _count(use["output_tokens"])


def _count(number: int | None) -> str:
    return NO_LIMIT if number is None else f"{number:,}"


def _price(usd: float | None, unknown: str) -> str:
    if usd is None:
        return unknown
    return f"${usd:,.2f}" if usd >= _LEAST_USD or not usd else f"<${_LEAST_USD}"


def _sentences(quote: Document) -> list[str]:
    expected, most, saved = quote["expected"], quote["maximum"], quote["saved"]
    told = []
    unpriced = dict.fromkeys(s["model"] for s in quote["stages"] if s["cost_usd"] is None)
    if unpriced:
        told.append(f"Unknown price of {' and '.join(unpriced)}: set llm.prices to have it counted.")
    if saved["calls"]:
        worth = "" if not saved["cost_usd"] else f", which saves {_price(saved['cost_usd'], UNKNOWN)}"
        told.append(f"The reply cache has the answers to {saved['calls']:,} more calls{worth}.")
    if expected["cached_input_tokens"]:
        share = expected["cached_input_tokens"] / expected["input_tokens"]
        told.append(f"{share:.0%} of the input tokens should come from the provider's prompt cache.")
    told += _budget(quote)
    # Where the budget ends the run, that has been said.
    short = quote["affordable"] is not None and quote["affordable"] < quote["sampled"]
    if most["input_tokens"] is not None and not short:
        told.append("The run ends, as partial, before it uses more than the maximum, repeats included.")
    told.append(f"Tokens: {quote['tokenizer']}. What models think before they answer comes on top.")
    return told


def _budget(quote: Document) -> list[str]:
    budget, affordable, sampled = quote["budget_usd"], quote["affordable"], quote["sampled"]
    if budget is None or affordable is None:
        return []
    told = f"The budget of {_price(budget, UNKNOWN)} is"
    if affordable >= sampled:
        return [f"{told} enough."]
    if not affordable:
        return [f"{told} not enough to find the categories: the run would end without labels."]
    read = f"about {affordable:,} of {sampled:,} {quote['unit']}s"
    return [f"{told} enough for {read}: the run would end there, as partial."]
