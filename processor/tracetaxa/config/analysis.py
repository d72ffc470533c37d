"""One analysis: its question, its traces, its categories."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from tracetaxa.analyze.audit import AuditPlan
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.config.section import Misplaced, Section, second_of_two
from tracetaxa.config.values import LARGEST, MOST, CronExpression, Duration, Name, TimeZone, unknown
from tracetaxa.records import OTHER, AttributeSpec, Brief, Category


def _one_or_more(value: Any) -> Any:
    """A single value may stand without its brackets; an empty one is none."""
    if isinstance(value, str):
        return (value,) if value else ()
    return value


def _status(value: str) -> str:
    if value not in STATUSES:
        raise ValueError(unknown(value, list(STATUSES), "status"))
    return value


STATUSES = ("Unset", "Ok", "Error")
Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one_or_more)]
"""One text, or a list of them."""
Statuses = Annotated[tuple[Annotated[str, AfterValidator(_status)], ...], BeforeValidator(_one_or_more)]


class FilterConfig(Section):
    service: Texts = ()
    """Only this service.name, or one of a list; likewise below, where more than one value makes sense."""
    status: Statuses = ()
    """Only traces with this status: Unset, Ok, Error."""
    tool: Texts = ()
    """Only traces that used this tool."""
    min_seconds: float = Field(default=0.0, ge=0, le=LARGEST)
    """Only traces that took so long or longer."""
    max_seconds: float | None = Field(default=None, gt=0, le=LARGEST)
    """Only traces that took less."""
    feedback: Texts = ()
    """Only traces with a feedback score of this name, which the next two are about then."""
    feedback_below: float | None = None
    """Only traces with a feedback score below this."""
    feedback_above: float | None = None
    """Only traces with a feedback score above this."""
    attributes: dict[str, Texts] = Field(default={})
    """Only traces whose attributes have these values: `{release: [v1, v2], user.tier: gold}`."""
    where: str = ""
    """A ClickHouse condition over the columns of `traces`, or of `sessions` when that is the unit."""

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.max_seconds is not None and self.max_seconds <= self.min_seconds:
            raise ValueError("`max_seconds` must be above `min_seconds`: no trace would be left")
        return self


class SampleConfig(Section):
    size: int = Field(default=1000, ge=1, le=MOST)
    """Traces (or sessions) that the engine reads; the report speaks for all of the window, with intervals."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """The same seed takes the same sample."""
    strategy: Literal["uniform", "stratified", "errors", "low_feedback", "tools"] = "uniform"
    """How it is drawn. `stratified`: each combination of `strata` is represented. `errors`, `low_feedback`
    and `tools` read more of what failed, was disliked or used one of `tools`; weights make up for it in every
    number."""
    strata: tuple[str, ...] = ("error", "latency")
    """For `stratified`: `error`, `latency`, `feedback`, `tools`, or attributes such as `user.tier`."""
    allocation: Literal["proportional", "equal"] = "proportional"
    """For `stratified`: each stratum by its size, or all alike."""
    tools: tuple[str, ...] = ()
    """For `tools`, and the stratum of this name: the tools in question."""
    favour: float = Field(default=0.5, gt=0, lt=1)
    """For `errors`, `low_feedback` and `tools`: their share of the sample, if there are so many."""
    thin_duplicates: bool = True
    """Of traces of the sample that say the same but for numbers and ids a model reads one in eleven; the
    others take its label, with labeller `distilled`, where its quote stands in them too. Weights stay as they
    are."""

    @model_validator(mode="after")
    def _tools_named(self) -> Self:
        needs = self.strategy == "tools" or (self.strategy == "stratified" and "tools" in self.strata)
        if needs and not self.tools:
            raise ValueError("the strategy needs `tools`: name the tools to tell apart by")
        if self.strategy == "stratified" and not self.strata:
            raise ValueError("`stratified` needs `strata`, such as [error, latency]")
        return self

    def plan(self) -> SamplePlan:
        """What the analysis draws by."""
        strata, favoured = {
            "uniform": ((), ()),
            "stratified": (self.strata, ()),
            "errors": (("error",), ("error",)),
            "low_feedback": (("feedback",), ("low feedback",)),
            "tools": (("tools",), ("used the tools",)),
        }[self.strategy]
        return SamplePlan(
            size=self.size,
            seed=self.seed,
            strata=strata,
            allocation=self.allocation,
            favoured=favoured,
            favour=self.favour,
            tools=self.tools,
        )


class PredefinedCategory(Section):
    name: str = Field(min_length=1)
    """What the category is called."""
    description: str = ""
    """What belongs into it, in a sentence."""
    id: Name | None = None
    """Its id; made from the name when unset."""


class TaxonomyConfig(Section):
    levels: Literal[1, 2] = 2
    """2 adds subcategories."""
    max_categories: int = Field(default=10, ge=1, le=50)
    """Most top-level categories, `other` not counted."""
    max_subcategories: int = Field(default=8, ge=1, le=50)
    """Most subcategories in one category."""
    predefined: tuple[PredefinedCategory, ...] = ()
    """Categories that must exist at the top level."""
    discover: bool = True
    """Find categories beside the predefined ones. Off: the top level is theirs alone; subcategories are still
    found, unless `levels` is 1."""
    excluded: tuple[str, ...] = ()
    """What must not become a category: names, or a few words each. A model reads it, the local engine does
    not."""

    @model_validator(mode="after")
    def _has_categories(self) -> Self:
        if not self.discover and not self.predefined:
            raise ValueError("with `discover: false` there must be `predefined` categories")
        return self


def _kept(value: Any) -> Any:
    """One value or a list of them; YAML reads true and false as booleans."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(v).lower() if isinstance(v, bool) else v for v in values)


class AttributeConfig(Section):
    name: Name
    """Part of the attribute name: `tracetaxa.<analysis>.attribute.<name>`."""
    type: Literal["boolean", "number", "string", "enum"]
    """What its values are."""
    values: tuple[str, ...] = ()
    """The allowed values of an enum."""
    description: str = ""
    """What the model looks for."""
    keep: Annotated[tuple[str, ...], BeforeValidator(_kept)] = ()
    """Count only traces with one of these values (true, false for a boolean); the others are labelled and
    reported as left out. Not for numbers."""

    @model_validator(mode="after")
    def _enum_has_values(self) -> Self:
        if (self.type == "enum") != bool(self.values):
            raise ValueError("`values` belongs to type enum, and an enum needs them")
        return self

    @model_validator(mode="after")
    def _keeps_what_can_be(self) -> Self:
        if self.type == "string":
            return self
        possible = {"enum": self.values, "boolean": ("true", "false")}.get(self.type, ())
        for value in self.keep:
            if value not in possible:
                known = ", ".join(possible) or "numbers can't be kept by value"
                raise ValueError(f"`keep` has {value!r}, which is no value of it: {known}")
        return self


class BudgetConfig(Section):
    usd: float | None = Field(default=None, gt=0, le=MOST)
    """Stop asking the model before the run costs more than this; the report is then partial."""
    overrun: float | None = Field(default=4.0, ge=1, le=MOST)
    """Stop before the run uses so many times the tokens (or the money) that its quote expects, with room for
    one long answer more: repeats of bad answers can't run away. null: only `usd` bounds it."""


class AuditConfig(Section):
    size: int = Field(default=200, ge=0, le=MOST)
    """Traces that a model labels a second time, with the labels in another order. How often both answers
    agree is in the report, and makes of stated confidences calibrated ones. More costs more and tells it more
    exactly; 0: none. It is within the budget, and left out when that is used up."""
    share: float = Field(default=0.2, gt=0, le=1)
    """Of a smaller sample at most this share (but 20 traces)."""
    stability: bool = False
    """Also find the categories in each half of the sample, and tell how far both agree: that costs about as
    much as finding them did."""
    stability_size: int = Field(default=200, ge=20, le=MOST)
    """Traces that both halves label for that comparison."""

    def plan(self) -> AuditPlan:
        """Which traces are labelled again."""
        return AuditPlan(self.size, self.share)


class AnalysisConfig(Section):
    name: Name = "topics"
    """Part of the attribute names: `tracetaxa.<name>.category`."""
    instructions: str = "What are users asking the agent to do?"
    """The question, in plain words."""
    unit: Literal["trace", "session"] = "trace"
    """What is read, counted and labelled: each trace, or each session, whose traces then share its label.
    Traces without a session id are in no session."""
    agent_only: bool = True
    """Leave out traces (or sessions) without agent or model spans."""
    window: Duration = "24h"
    """How far back a run looks when it is not told."""
    schedule: CronExpression | None = None
    """When the service runs it by itself, as a cron expression: `0 3 * * *` is every night at three. The
    window ends at the scheduled time. Unset: never (docs/schedules.md)."""
    time_zone: TimeZone = "UTC"
    """The time zone of `schedule`, such as `Europe/Berlin`."""
    filter: FilterConfig = FilterConfig()
    sample: SampleConfig = SampleConfig()
    taxonomy: TaxonomyConfig = TaxonomyConfig()
    attributes: tuple[AttributeConfig, ...] = ()
    """Values that the model extracts from each trace; the local engine extracts none."""
    budget: BudgetConfig = BudgetConfig()
    audit: AuditConfig = AuditConfig()
    max_abstained: float = Field(default=0.2, ge=0, le=1)
    """A run that could not label a larger share of its sample ends as `partial`."""
    label_all: bool = False
    """Label every trace, not only the sample: after each run the service learns from its labels, and labels
    the rest of the window and each new trace as it closes (docs/labels.md, and the section `label`). Needs
    `pip install 'tracetaxa[local]'`; for `unit: trace` only."""

    @model_validator(mode="after")
    def _labels_traces(self) -> Self:
        if self.label_all and self.unit != "trace":
            raise Misplaced(
                "`label_all` is for `unit: trace`: a session's traces share the label that a run gives them",
                "label_all",
            )
        return self

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if (second := second_of_two([attribute.name for attribute in self.attributes])) is not None:
            name = self.attributes[second].name
            raise Misplaced(f"two attributes have the same name, {name!r}", "attributes", second, "name")
        self.brief()
        return self

    def brief(self) -> Brief:
        """What the engine is asked."""
        used = {OTHER}
        predefined = []
        for index, category in enumerate(self.taxonomy.predefined):
            identity = (
                category.id or re.sub(r"[^a-z0-9]+", "_", category.name.lower()).strip("_") or "category"
            )
            if not identity[0].isalpha():
                identity = f"c_{identity}"
            if identity in used:
                raise Misplaced(
                    f"two predefined categories have the id {identity!r}, or it is reserved",
                    *("taxonomy", "predefined", index),
                )
            used.add(identity)
            predefined.append(Category(identity, category.name, category.description))
        return Brief(
            analysis=self.name,
            instructions=self.instructions,
            levels=self.taxonomy.levels,
            max_categories=self.taxonomy.max_categories if self.taxonomy.discover else len(predefined),
            max_subcategories=self.taxonomy.max_subcategories,
            predefined=tuple(predefined),
            attributes=tuple(
                AttributeSpec(a.name, a.type, a.values, a.description, a.keep) for a in self.attributes
            ),
            seed=self.sample.seed,
            unit=self.unit,
            excluded=self.taxonomy.excluded,
        )
