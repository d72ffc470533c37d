"""Plain web traffic: what most pipelines carry beside an agent's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.demo.traffic import PlannedSpan, PlannedTrace

if TYPE_CHECKING:
    import random

_MILLISECOND_NS = 1_000_000
_FAILING = 0.03
_RESOURCE = {
    "service.name": "shop-web",
    "service.version": "11.0.2",
    "deployment.environment.name": "production",
}


def web_request(key: str, start_ns: int, rng: random.Random) -> PlannedTrace:
    """A page view: an HTTP server span and its database query (HTTP and database conventions 1.42)."""
    route = rng.choice(("/", "/products/{id}", "/cart", "/search", "/healthz"))
    fails = rng.random() < _FAILING
    query_ns = int(rng.lognormvariate(1.5, 0.6) * _MILLISECOND_NS)
    server = PlannedSpan(
        name=f"GET {route}",
        kind="SERVER",
        parent=None,
        start_ns=0,
        duration_ns=query_ns + 4 * _MILLISECOND_NS,
        attributes={
            "http.request.method": "GET",
            "http.route": route,
            "url.scheme": "https",
            "http.response.status_code": 500 if fails else 200,
            **({"error.type": "500"} if fails else {}),
        },
        error="internal server error" if fails else "",
    )
    query = PlannedSpan(
        name="SELECT products",
        kind="CLIENT",
        parent=0,
        start_ns=_MILLISECOND_NS,
        duration_ns=query_ns,
        attributes={
            "db.system.name": "postgresql",
            "db.operation.name": "SELECT",
            "db.collection.name": "products",
        },
    )
    return PlannedTrace(key, start_ns, _RESOURCE, (server, query))
