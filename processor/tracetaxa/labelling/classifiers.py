"""Which classifiers there are, and which one labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.errors import MalformedRequest, NotFound
from tracetaxa.label.rows import ClassifierChoiceRow, ClassifierRow

if TYPE_CHECKING:
    from tracetaxa.protocols import Database

_WHO = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


async def list_classifiers(db: Database, analysis: str, most: int) -> list[dict[str, Any]]:
    """Newest first, without their archives; of all analyses when none is named. `in_use` is the one that
    labels now."""
    rows = await db.rows("labelling/classifiers_of", analysis=analysis, limit=most)
    in_use = {
        name: (await db.rows("labelling/classifier_version_in_use", analysis=name))[0]["ClassifierVersion"]
        for name in {row["Analysis"] for row in rows}
    }
    return [
        {
            "analysis": row["Analysis"],
            "classifier_version": row["ClassifierVersion"] or None,
            "in_use": bool(row["ClassifierVersion"]) and in_use[row["Analysis"]] == row["ClassifierVersion"],
            "run_id": row["RunId"],
            "taxonomy_version": row["TaxonomyVersion"],
            "feature_version": row["FeatureVersion"],
            "embedding": row["Embedding"] or None,
            "learned": row["Learned"],
            "quality": row["Quality"],
            "bytes": row["ArchiveBytes"],
            "created_at": rfc3339(row["CreatedAt"]),
            "error": row["Error"] or None,
        }
        for row in rows
    ]


async def choose_classifier(db: Database, body: Any) -> dict[str, Any]:
    """Have a classifier label from now on: `analysis`, `classifier_version`, and `who` if one likes.

    Raises MalformedRequest, and NotFound where there is none of this version.
    """
    fields = ("analysis", "classifier_version", "who")
    if not isinstance(body, dict) or not set(body) <= set(fields):
        raise MalformedRequest(f"the request must be an object with {', '.join(fields)}")
    analysis, version, who = (body.get(name, "") for name in fields)
    if not all(isinstance(value, str) for value in (analysis, version, who)) or not analysis or not version:
        raise MalformedRequest("`analysis` and `classifier_version` must be texts")
    if who and not _WHO.fullmatch(who):
        raise MalformedRequest("`who` must be one line of at most 200 characters")
    known = await db.records(
        "labelling/classifier_in_use", ClassifierRow, analysis=analysis, classifier_version=version
    )
    if not known:
        raise NotFound(f"analysis {analysis!r} has no classifier {version!r}")
    await db.insert("classifier_choices", [ClassifierChoiceRow(analysis, version, who)])
    return {"analysis": analysis, "classifier_version": version, "run_id": known[0].run_id}
